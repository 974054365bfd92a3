//! One record into the open buffer of its channel: the hot end of a partition.
//!
//! Entered once per record; left by nothing here, sealing is the partition's work. Invariant: a buffer
//! that is open holds at least one record, so a channel without records costs no segment, and ten
//! thousand channels cost none until they are written to. Lives on the shard's thread.

use thalweg_core::{KeyHash, Timestamp};
use thalweg_memory::{BLOCK, Block, BufferWriter, EntryLayout, Mark, Wire};

/// The open buffer of one channel, if there is one.
#[derive(Debug, Default)]
pub(super) struct ChannelWriter {
    open: Option<BufferWriter>,
}

impl ChannelWriter {
    /// Writes a record; false if no buffer is open or the record does not fit, and nothing has changed.
    #[inline(always)]
    pub(super) fn put<W: Wire>(
        &mut self,
        layout: EntryLayout,
        hash: KeyHash,
        at: Timestamp,
        item: &W::Of<'_>,
    ) -> bool {
        match &mut self.open {
            Some(open) => open.put::<W>(layout, hash, at, item).is_ok(),
            None => false,
        }
    }

    /// Writes the picked records of a block, until none is left, or no buffer is open, or the next does not
    /// fit; answers those left.
    #[inline(always)]
    pub(super) fn put_picked<W: Wire>(
        &mut self,
        layout: EntryLayout,
        block: &Block<'_, '_, W>,
        picked: u64,
    ) -> u64 {
        match &mut self.open {
            Some(open) => open.put_picked::<W>(layout, block, picked),
            None => picked,
        }
    }

    /// Sets a mark behind the records written so far; false if no buffer is open.
    pub(super) fn mark(&mut self, mark: Mark) -> bool {
        match &mut self.open {
            Some(open) => {
                open.mark(mark);
                true
            }
            None => false,
        }
    }

    /// Opens a buffer that holds a record already.
    pub(super) fn open(&mut self, writer: BufferWriter) {
        debug_assert!(self.open.is_none(), "the buffer before was sealed");
        debug_assert!(writer.records() > 0, "an open buffer holds a record");
        self.open = Some(writer);
    }

    /// Takes the open buffer out, to be sealed.
    pub(super) fn take(&mut self) -> Option<BufferWriter> {
        self.open.take()
    }
}

/// The bits of those records of a block that go to a channel.
#[inline(always)]
pub(super) fn picked_for(channel: u64, places: &[u64; BLOCK]) -> u64 {
    let goes = places.iter().map(|place| u64::from(*place == channel));
    goes.enumerate()
        .fold(0, |all, (number, goes)| all | goes << number)
}

/// Marks of a channel that has no open buffer: what they come to, until a record or a flush takes them
/// along. A later watermark replaces an earlier one, and so does a later word on idleness, so that marks
/// on a quiet channel need no memory and no credit. A channel that was idle is active with its next
/// watermark.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct HeldMarks {
    watermark: Option<Mark>,
    activity: Option<Mark>,
}

impl HeldMarks {
    pub(super) fn hold(&mut self, mark: Mark) {
        match mark {
            Mark::Watermark(new) => {
                let old = match self.watermark {
                    Some(Mark::Watermark(old)) => old,
                    _ => new,
                };
                self.watermark = Some(Mark::Watermark(old.max(new)));
                if self.activity == Some(Mark::Idle) {
                    self.activity = Some(Mark::Active);
                }
            }
            Mark::Idle | Mark::Active => self.activity = Some(mark),
        }
    }

    /// Takes the marks in the order in which they mean the same as what was held: a channel becomes
    /// active before its watermark and idle after it.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Mark> + use<> {
        let HeldMarks {
            watermark,
            activity,
        } = std::mem::take(self);
        let active = activity.filter(|mark| *mark == Mark::Active);
        let idle = activity.filter(|mark| *mark == Mark::Idle);
        active.into_iter().chain(watermark).chain(idle)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::Watermark;

    use super::*;

    fn watermark(at: i64) -> Mark {
        Mark::Watermark(Watermark(Timestamp(at)))
    }

    #[test]
    fn held_marks_keep_what_they_mean() {
        let mut held = HeldMarks::default();
        for mark in [
            Mark::Idle,
            watermark(3),
            Mark::Active,
            watermark(5),
            watermark(4),
        ] {
            held.hold(mark);
        }
        assert_eq!(
            held.take().collect::<Vec<_>>(),
            [Mark::Active, watermark(5)]
        );
        assert_eq!(held.take().count(), 0);
        held.hold(watermark(6));
        held.hold(Mark::Idle);
        assert_eq!(held.take().collect::<Vec<_>>(), [watermark(6), Mark::Idle]);
        // A channel that promises something is idle no more.
        held.hold(Mark::Idle);
        held.hold(watermark(7));
        let taken: Vec<_> = held.take().collect();
        assert_eq!(taken, [Mark::Active, watermark(7)]);
    }
}
