//! What is said between two records of a buffer: watermarks and idleness.
//!
//! A mark stands at a record index: it comes after all records before that index and before the record
//! at it. Marks ride beside the segment, so a buffer may carry nothing else. The first one is kept
//! inline: a buffer with one watermark costs no allocation.
//!
//! Invariant: indices never fall, and none is above the buffer's number of records. Shard-local while
//! being written, read-only afterwards.

use thalweg_core::event_time::Watermark;

/// An event in the stream of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nothing older than this will come.
    Watermark(Watermark),
    /// The channel makes no promise until further notice.
    Idle,
    /// The channel makes promises again.
    Active,
}

/// The marks of a buffer, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    first: Option<(u32, Mark)>,
    rest: Vec<(u32, Mark)>,
}

impl Marks {
    /// Adds a mark before record `index`. A watermark directly after another replaces it: the newer
    /// promise includes the older.
    pub(crate) fn push(&mut self, index: u32, mark: Mark) {
        let last = self.rest.last_mut().or(self.first.as_mut());
        if let Some((at, previous)) = last {
            assert!(*at <= index, "marks are set in the order of the records");
            if *at == index
                && let (Mark::Watermark(old), Mark::Watermark(new)) = (*previous, mark)
            {
                *previous = Mark::Watermark(old.max(new));
                return;
            }
            self.rest.push((index, mark));
        } else {
            self.first = Some((index, mark));
        }
    }

    /// The mark number `at`, with the record it stands before.
    #[inline]
    pub(crate) fn get(&self, at: u32) -> Option<(u32, Mark)> {
        match at {
            0 => self.first,
            _ => self.rest.get(at as usize - 1).copied(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Mark)> {
        self.first.into_iter().chain(self.rest.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_core::event_time::Timestamp;

    fn watermark(at: i64) -> Mark {
        Mark::Watermark(Watermark(Timestamp(at)))
    }

    #[test]
    fn only_neighbouring_watermarks_melt_together() {
        let mut marks = Marks::default();
        assert!(marks.is_empty());
        for (index, mark) in [
            (0, watermark(1)),
            (0, watermark(2)),
            (0, Mark::Idle),
            (0, watermark(3)),
            (5, watermark(4)),
            (5, watermark(3)),
        ] {
            marks.push(index, mark);
        }
        let seen: Vec<_> = marks.iter().collect();
        assert_eq!(
            seen,
            [
                (0, watermark(2)),
                (0, Mark::Idle),
                (0, watermark(3)),
                (5, watermark(4))
            ]
        );
        for (at, mark) in seen.iter().enumerate() {
            assert_eq!(marks.get(at as u32), Some(*mark));
        }
        assert_eq!(marks.get(4), None);
    }
}
