//! When a half-full buffer leaves.
//!
//! A buffer leaves when it is full, when an event must follow it, and when the task's turn ends with no
//! more input and nothing of its channel is unconsumed: so a lone record leaves at once, a full pipe
//! sends full segments, and a fan-out does not ship near-empty ones. A task that never runs out of input
//! flushes as well, every [`BUSY_FLUSH_NS`]: behind a filter that lets little through, what it wrote would
//! wait for ever. With a flush interval a buffer also has to be as old as that. Here is the list of channels that such a flush has to look at. Invariant: a
//! channel with an open buffer or held marks is listed, so a flush costs what the channels written to
//! cost, not what all cost. Lives on the shard's thread.

/// How often a task that is never idle flushes.
const BUSY_FLUSH_NS: u64 = 10_000_000;

/// The channels that may have something to flush, each once.
#[derive(Debug)]
pub(super) struct FlushList {
    listed: Vec<u32>,
    is_listed: Vec<bool>,
    interval_ns: u64,
    /// By channel, when it is to leave at the latest, monotonic ns; 0 where that was not asked yet.
    due: Vec<u64>,
    /// Until when a busy task keeps what is listed, monotonic ns; 0 where that was not asked yet.
    kept_until: u64,
}

impl FlushList {
    /// A list for so many channels; what is listed is due `interval_ns` after it was first looked at.
    pub(super) fn new(channels: usize, interval_ns: u64) -> FlushList {
        let timed = if interval_ns > 0 { channels } else { 0 };
        FlushList {
            listed: Vec::new(),
            is_listed: vec![false; channels],
            interval_ns,
            due: vec![0; timed],
            kept_until: 0,
        }
    }

    /// Whether a task that has been busy ever since [`FlushList::rest`] is to flush at `now`.
    #[inline]
    pub(super) fn kept_long(&mut self, now: u64) -> bool {
        if self.kept_until == 0 {
            self.kept_until = now.saturating_add(BUSY_FLUSH_NS);
        }
        now >= self.kept_until
    }

    /// The task flushes.
    #[inline]
    pub(super) fn rest(&mut self) {
        self.kept_until = 0;
    }

    /// Whether what is listed waits for its time.
    pub(super) fn is_timed(&self) -> bool {
        self.interval_ns > 0
    }

    /// When a listed channel is due, monotonic ns; its time runs from the first call on.
    pub(super) fn due(&mut self, place: usize, now: u64) -> u64 {
        debug_assert!(self.is_listed[place], "only what is listed is due");
        let Some(due) = self.due.get_mut(place) else {
            return now;
        };
        if *due == 0 {
            *due = now.saturating_add(self.interval_ns);
        }
        *due
    }

    /// Lists a channel.
    #[inline]
    pub(super) fn touch(&mut self, place: usize) {
        if !self.is_listed[place] {
            self.is_listed[place] = true;
            self.listed.push(place as u32);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Takes the list out to be walked; those it no longer names are to be struck, and
    /// [`FlushList::put_back`] must follow.
    pub(super) fn take(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.listed)
    }

    /// A channel of the list taken out is not listed any more.
    pub(super) fn strike(&mut self, place: usize) {
        debug_assert!(self.is_listed[place], "only what is listed is struck");
        self.is_listed[place] = false;
        if let Some(due) = self.due.get_mut(place) {
            *due = 0;
        }
    }

    /// Puts back what is left of the list taken out.
    pub(super) fn put_back(&mut self, listed: Vec<u32>) {
        debug_assert!(self.listed.is_empty(), "nothing was listed meanwhile");
        debug_assert!(listed.iter().all(|&place| self.is_listed[place as usize]));
        self.listed = listed;
    }

    pub(super) fn clear(&mut self) {
        self.rest();
        for place in std::mem::take(&mut self.listed) {
            self.strike(place as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_listed_once_until_struck() {
        let mut list = FlushList::new(3, 0);
        for place in [2, 0, 2] {
            list.touch(place);
        }
        let mut walked = list.take();
        assert_eq!(walked, [2, 0]);
        walked.retain(|&place| place != 2);
        list.strike(2);
        list.put_back(walked);
        list.touch(0);
        list.touch(2);
        assert_eq!(list.listed, [0, 2]);
        list.clear();
        assert!(list.is_empty());
        list.touch(0);
        assert_eq!(list.listed, [0]);
        assert_eq!(list.due(0, 7), 7, "without an interval at once");
    }

    #[test]
    fn a_busy_task_flushes_every_so_often() {
        let mut list = FlushList::new(1, 0);
        list.touch(0);
        assert!(!list.kept_long(5));
        assert!(!list.kept_long(4 + BUSY_FLUSH_NS));
        assert!(list.kept_long(5 + BUSY_FLUSH_NS));
        list.rest();
        assert!(!list.kept_long(6 + BUSY_FLUSH_NS));
    }

    #[test]
    fn the_time_of_a_channel_runs_from_the_first_look_until_struck() {
        let mut list = FlushList::new(2, 100);
        list.touch(1);
        assert_eq!((list.due(1, 5), list.due(1, 50)), (105, 105));
        list.touch(1);
        assert_eq!(list.due(1, 60), 105, "listed already");
        list.clear();
        list.touch(1);
        assert_eq!(list.due(1, 200), 300);
    }
}
