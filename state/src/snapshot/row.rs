//! One entry of a state as bytes, on its way into a copy of the state or out of it.
//!
//! Made by what is copied (a table, a queue of timers), taken by what writes copies, and shown to what is
//! restored. Invariant: equal keys have equal bytes, so that rows of one entry meet whichever copy they
//! come from. Plain data, lives on any thread.

use thalweg_core::KeyGroup;

/// One entry of a state, or the news that it is gone.
///
/// Which state it belongs to is said beside it. The bytes are opaque and have no alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The key group of the key.
    pub group: KeyGroup,
    /// The canonical bytes of the key.
    pub key: &'a [u8],
    /// The canonical bytes of what the entry is kept under besides the key; empty where there is only the
    /// key.
    pub namespace: &'a [u8],
    /// The archived value; `None` is a tombstone: the entry was removed.
    pub value: Option<&'a [u8]>,
}

impl Row<'_> {
    /// Whether the row says that its entry was removed.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    /// Bytes of key, namespace and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.namespace.len() + self.value.map_or(0, <[u8]>::len)
    }
}

/// Takes the rows of one state, in any order.
pub trait RowSink {
    /// Takes one row; what it needs of it, it copies.
    fn row(&mut self, row: Row<'_>);
}

/// Rows are shown to a closure.
impl<F: FnMut(Row<'_>)> RowSink for F {
    fn row(&mut self, row: Row<'_>) {
        self(row);
    }
}
