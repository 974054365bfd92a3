//! When a half-full buffer leaves.
//!
//! A buffer leaves when it is full, when an event must follow it, and when the task's turn ends with no
//! more input and nothing of its channel is unconsumed: so a lone record leaves at once, a full pipe
//! sends full segments, and a fan-out does not ship near-empty ones. Here is the list of channels that
//! such a flush has to look at. Invariant: a channel with an open buffer or held marks is listed, so a
//! flush costs what the channels written to cost, not what all cost. Lives on the shard's thread.

/// The channels that may have something to flush, each once.
#[derive(Debug)]
pub(super) struct FlushList {
    listed: Vec<u32>,
    is_listed: Vec<bool>,
}

impl FlushList {
    pub(super) fn new(channels: usize) -> FlushList {
        FlushList {
            listed: Vec::new(),
            is_listed: vec![false; channels],
        }
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
    }

    /// Puts back what is left of the list taken out.
    pub(super) fn put_back(&mut self, listed: Vec<u32>) {
        debug_assert!(self.listed.is_empty(), "nothing was listed meanwhile");
        debug_assert!(listed.iter().all(|&place| self.is_listed[place as usize]));
        self.listed = listed;
    }

    pub(super) fn clear(&mut self) {
        for place in self.listed.drain(..) {
            self.is_listed[place as usize] = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_listed_once_until_struck() {
        let mut list = FlushList::new(3);
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
    }
}
