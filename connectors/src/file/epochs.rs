//! Which parts belong to which checkpoint, and which checkpoints are ready to be told.
//!
//! An epoch is what was written between two barriers. It is sealed by its barrier, or by the end of the
//! input, and is complete when all of its parts are durable. Invariant: epochs are told in order, each
//! once, and only when complete. Lives on the shard of its writer.

use std::collections::VecDeque;

use super::pending::Pending;

/// Names an epoch of one writer.
pub(super) type EpochId = u64;

struct Epoch<C> {
    /// What sealed it; none while it is open.
    sealed: Option<C>,
    unfinished: usize,
    durable: Vec<Pending>,
}

/// The epochs of one writer that were not told yet; `C` names what seals them.
pub(super) struct Epochs<C> {
    /// The last one is open.
    line: VecDeque<Epoch<C>>,
    first: EpochId,
}

impl<C> Epochs<C> {
    pub(super) fn new() -> Self {
        Self {
            line: VecDeque::from([Self::open()]),
            first: 0,
        }
    }

    fn open() -> Epoch<C> {
        Epoch {
            sealed: None,
            unfinished: 0,
            durable: Vec::new(),
        }
    }

    /// The epoch of what is written now.
    pub(super) fn current(&self) -> EpochId {
        self.first + self.line.len() as u64 - 1
    }

    /// A part was begun in the current epoch.
    pub(super) fn begin_part(&mut self) -> EpochId {
        if let Some(current) = self.line.back_mut() {
            current.unfinished += 1;
        }
        self.current()
    }

    /// A part of this epoch is durable.
    pub(super) fn end_part(&mut self, epoch: EpochId, part: Pending) {
        debug_assert!(epoch >= self.first, "a complete epoch has no part left");
        let Some(epoch) = self.line.get_mut((epoch - self.first) as usize) else {
            unreachable!("an epoch with a part left was told")
        };
        epoch.unfinished -= 1;
        epoch.durable.push(part);
    }

    /// The current epoch ends; the next one begins.
    pub(super) fn seal(&mut self, by: C) {
        if let Some(current) = self.line.back_mut() {
            current.sealed = Some(by);
        }
        self.line.push_back(Self::open());
    }

    /// The oldest sealed epoch, if it is complete.
    pub(super) fn next_complete(&mut self) -> Option<(C, Vec<Pending>)> {
        let first = self.line.front_mut()?;
        if first.unfinished > 0 {
            return None;
        }
        let by = first.sealed.take()?;
        let durable = std::mem::take(&mut first.durable);
        self.line.pop_front();
        self.first += 1;
        Some((by, durable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64) -> Pending {
        Pending {
            pending: "pending".into(),
            last: "last".into(),
            len: number,
        }
    }

    #[test]
    fn epochs_are_told_in_order_and_only_when_complete() {
        let mut epochs = Epochs::new();
        let first = [epochs.begin_part(), epochs.begin_part()];
        epochs.seal("one");
        let second = epochs.begin_part();
        epochs.seal("two");
        epochs.seal("empty");
        assert_eq!((first, second, epochs.current()), ([0, 0], 1, 3));
        epochs.end_part(second, part(2));
        assert_eq!(epochs.next_complete(), None, "the first is not complete");
        epochs.end_part(first[0], part(0));
        assert_eq!(epochs.next_complete(), None, "one part of it is not");
        epochs.end_part(first[1], part(1));
        assert_eq!(
            epochs.next_complete(),
            Some(("one", vec![part(0), part(1)]))
        );
        assert_eq!(epochs.next_complete(), Some(("two", vec![part(2)])));
        assert_eq!(epochs.next_complete(), Some(("empty", vec![])));
        assert_eq!(epochs.next_complete(), None, "the last one is open");
    }
}
