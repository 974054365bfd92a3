//! A part of what one key keeps in one namespace: the namespace of its table entry.
//!
//! Lists and maps of any size are kept in parts, each an entry of its own. Invariant: the first part lies
//! where the namespace itself would, so that what brings the key near brings its first part near. Plain
//! data, lives on any thread.

use thalweg_core::KeyHash;
use thalweg_memory::{DamagedKey, SchemaWriter};

use crate::table::Namespace;

/// A numbered part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<N> {
    pub(crate) namespace: N,
    pub(crate) number: u64,
}

impl<N: Namespace> Chunk<N> {
    /// The first part.
    #[inline(always)]
    pub(crate) fn first(namespace: &N) -> Chunk<N> {
        Chunk::of(namespace, 0)
    }

    #[inline(always)]
    pub(crate) fn of(namespace: &N, number: u64) -> Chunk<N> {
        Chunk {
            namespace: *namespace,
            number,
        }
    }
}

impl<N: Namespace> Namespace for Chunk<N> {
    #[inline(always)]
    fn spread(&self) -> u64 {
        let namespace = self.namespace.spread();
        if self.number == 0 {
            namespace
        } else {
            KeyHash(namespace).combine(KeyHash::of_u64(self.number)).0
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.namespace.encode(out);
        self.number.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DamagedKey> {
        Ok(Chunk {
            namespace: N::decode(input)?,
            number: u64::decode(input)?,
        })
    }

    fn describe(to: &mut SchemaWriter) {
        to.text("(");
        N::describe(to);
        to.text(", u64)");
    }
}
