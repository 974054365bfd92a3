//! One edge from a subtask to a subtask: its identity and the numbering of what travels on it.
//!
//! Entered by both ends. Invariant: the parcels of a channel are numbered from zero without a gap, so
//! that a lost, doubled or overtaking one is noticed by the receiver and never read as data. Plain
//! values; live on any thread.

use std::fmt;

/// A channel of a job. Ids are dense: a job with n channels uses 0..n.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChannelId(pub u32);

impl ChannelId {
    /// The id as a place in a table.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of a parcel within its channel, from zero.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Answers this number and moves on to the next.
    #[inline]
    pub fn take(&mut self) -> Sequence {
        let taken = *self;
        self.0 += 1;
        taken
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_gap() {
        let mut next = Sequence::default();
        let taken: Vec<u64> = (0..4).map(|_| next.take().0).collect();
        assert_eq!(taken, [0, 1, 2, 3]);
        assert_eq!(ChannelId(7).index(), 7);
    }
}
