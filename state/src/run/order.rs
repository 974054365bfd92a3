//! The order of rows: state, key group, key, namespace.
//!
//! Entered by all that writes, searches and merges runs. Invariant: there is one order, that of bytes, and
//! it is part of the format. Plain data, lives on any thread.

use thalweg_core::KeyGroup;

use crate::snapshot::Row;

/// The number of a state within one run. Another run of the same operator may number otherwise: across
/// runs a state is known by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateNumber(pub u16);

/// What a row is found by. The order of the fields is the order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address<'a> {
    pub(crate) state: u16,
    pub(crate) group: KeyGroup,
    pub(crate) key: &'a [u8],
    pub(crate) namespace: &'a [u8],
}

impl<'a> Address<'a> {
    pub(crate) fn of(state: u16, row: &Row<'a>) -> Address<'a> {
        Address {
            state,
            group: row.group,
            key: row.key,
            namespace: row.namespace,
        }
    }
}
