//! Whether there is memory for timers to come, and which leave when there is none.
//!
//! Entered once for each batch of records, for each timer that fires while something is on disk, and at the ends of
//! turns. Memory is looked at, not timers: the order is cut in the near part and the banks, and of the one with most in
//! memory what is in memory leaves, of the near part its later half. Invariant: what fires next stays. Lives on one
//! shard's thread.

use thalweg_memory::Key;

use super::super::order::{Order, Timer};
use super::super::queue::TimerQueue;
use super::super::stretch::FULL;
use super::{LayeredTimers, OnDisk};
use crate::lsm::Piles;
use crate::table::Namespace;

/// One part in so many of the memory is left to what stands beside the timers.
const SPARE: u64 = 16;
/// A part of the order with less than one part in so many of the memory is not worth a file, or with less than so many
/// bytes, if one part in fewer has not as much: of each file something is kept in memory.
const WORTH: u64 = 32;
const WORTH_OF_LITTLE: u64 = 8;
const WORTH_BYTES: u64 = 256 << 10;
/// Tables that are cut in two take no more than one part in so many of the memory.
const TABLES: u64 = 8;
/// Timers that hold less than one part in so many of what is left need not ask for room.
const FEW: u64 = 16;
/// A stretch is cut in two about once in so many timers that come.
const CUT: usize = FULL / 4;
/// Turns in which others are waited for that hold more than their part, and have not begun to give it back.
const PATIENCE: u32 = 64;
/// Most timers of a record for which room is made sure of.
const MOST_OF_RECORD: usize = 64;

/// How many timers come with a record.
#[derive(Default)]
pub(super) struct Demand {
    came: usize,
    records: usize,
    of_record: usize,
    /// There was no room for some.
    pub(super) stalled: bool,
    /// Bytes that there would have been room for, had others not held them.
    pub(super) wants: u64,
    /// Turns in which those were waited for.
    waited: u32,
}

impl Demand {
    /// A timer came.
    #[inline(always)]
    pub(super) fn count(&mut self) {
        self.came += 1;
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.waited = match self.wants {
            0 => 0,
            _ => self.waited + 1,
        };
        (self.came, self.records) = (0, 0);
        (self.stalled, self.wants) = (false, 0);
    }

    /// The most that so many records may bring, by what those before them brought.
    fn timers_of(&mut self, records: usize) -> usize {
        // What came before room was asked for came with any number of them.
        if self.records > 0 {
            let of_record = self.came.div_ceil(self.records);
            self.of_record = self.of_record.max(of_record.min(MOST_OF_RECORD));
        }
        (self.came, self.records) = (0, records);
        records * self.of_record.max(1)
    }
}

/// A part of the order that is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) from: Order,
    pub(super) end: Option<Order>,
    /// Timers in memory, about.
    pub(super) timers: usize,
}

impl<K: Key, N: Namespace> LayeredTimers<K, N> {
    /// Whether room has to be asked for before timers are registered. Cheap.
    #[inline]
    #[must_use]
    pub fn is_active(&self) -> bool {
        let disk = self.disk.as_ref();
        disk.is_some_and(|disk| disk.is_active(&self.hot))
    }

    /// Whether there is memory for the timers that so many records may register, and no timers have to be brought
    /// first.
    pub fn has_room(&mut self, records: usize) -> bool {
        match &mut self.disk {
            Some(disk) => disk.has_room(&self.hot, records),
            None => true,
        }
    }
}

impl<K: Key, N: Namespace> OnDisk<K, N> {
    #[inline]
    fn is_active(&self, hot: &TimerQueue<K, N>) -> bool {
        let left = hot.account.budget().left();
        self.piles.is_some() || hot.account.bytes() >= left / FEW
    }

    fn has_room(&mut self, hot: &TimerQueue<K, N>, records: usize) -> bool {
        let timers = self.demand.timers_of(records);
        self.loading.is_none() && self.makes_room_for(hot, timers)
    }

    /// Whether there is room for so many timers. Where there is none, some leave at the end of the turn.
    pub(super) fn makes_room_for(&mut self, hot: &TimerQueue<K, N>, timers: usize) -> bool {
        if self.fits(hot, timers) {
            return true;
        }
        let cutting = hot.cut.is_some() || self.gone.cut.is_some();
        let crowded = self.demand.wants > 0 && self.demand.waited < PATIENCE;
        let others = crowded || self.piles().others_shrink();
        let frees = cutting || others || self.spilling.is_some();
        // Where nothing can leave, what does not fit is told when it comes.
        let helpless = !frees && self.leaving(hot).is_none();
        self.demand.stalled = !helpless;
        helpless
    }

    /// The way to the disk.
    pub(super) fn piles(&mut self) -> &mut Piles {
        self.piles.get_or_insert_with(&self.make_piles)
    }

    /// Bytes of memory of all that is kept.
    pub(super) fn held(&self, hot: &TimerQueue<K, N>) -> u64 {
        let spilling = self.spilling.as_ref().map_or(0, |it| it.memory_bytes());
        let loading = self.loading.as_ref().map_or(0, |it| it.memory_bytes());
        let queues = hot.memory_bytes() + self.gone.memory_bytes();
        queues + self.banks.size().memory_bytes + spilling + loading
    }

    fn fits(&mut self, hot: &TimerQueue<K, N>, timers: usize) -> bool {
        let held = self.held(hot);
        let piles = self.piles();
        let (limit, left) = (piles.limit(), piles.left());
        let more = bytes_for(hot, timers, limit / TABLES) + limit / SPARE;
        let within = held + more <= limit;
        self.demand.wants = match within && more > left {
            true => held + more,
            false => 0,
        };
        within && more <= left
    }

    /// What leaves next; none where there is nothing worth it. Joins banks of which little is in memory.
    pub(super) fn leaving(&mut self, hot: &TimerQueue<K, N>) -> Option<Leaving> {
        let each = bytes_of_one(hot);
        let limit = self.piles().limit();
        let worth = (limit / WORTH).max(WORTH_BYTES.min(limit / WORTH_OF_LITTLE));
        loop {
            let largest = self.largest(hot);
            // Where the others leave nothing to share, what is nothing would be worth it.
            if largest.is_some_and(|it| it.timers > 0 && it.timers as u64 * each >= worth) {
                return largest;
            }
            if !self.banks.join_last() {
                return None;
            }
        }
    }

    /// The part of the order with most in memory.
    fn largest(&self, hot: &TimerQueue<K, N>) -> Option<Leaving> {
        // What came to each bank, and how much of that lies behind all it has on disk.
        let mut in_banks = vec![(0, 0); self.banks.len()];
        let mut near = Vec::new();
        let starts: Vec<Order> = self.banks.starts().collect();
        let mut count = |place: Order, timers: usize| match self.banks.find(place) {
            Some(bank) => {
                let (came, behind) = &mut in_banks[bank];
                *came += timers;
                if self.banks.last(bank).is_some_and(|last| place > last) {
                    *behind += timers;
                }
            }
            None => near.push((place, timers)),
        };
        hot.count(&starts, &mut count);
        // Before the first bank nothing is deleted that may be on disk.
        self.gone.count(&starts, |place, timers| {
            if timers > 0 {
                count(place, timers);
            }
        });
        let banks = in_banks
            .iter()
            .enumerate()
            .filter_map(|(bank, (came, behind))| {
                let (from, end) = (self.banks.start(bank)?, self.banks.start(bank + 1));
                let (timers, behind) = (*came, *behind);
                // Timers that come in the order in which they fire fill one bank after the other.
                Some(match 2 * behind > timers {
                    true => Leaving {
                        from: self.banks.last(bank)?.next(),
                        end,
                        timers: behind,
                    },
                    false => Leaving { from, end, timers },
                })
            });
        let end = self.banks.start(0);
        let near = later_half(&near, end).into_iter();
        banks.chain(near).max_by_key(|leaving| leaving.timers)
    }
}

/// The later half of the timers before `end`, which lie in these stretches, the last one first. The first stretch, which
/// fires next, stays.
fn later_half(stretches: &[(Order, usize)], end: Option<Order>) -> Option<Leaving> {
    let all: usize = stretches.iter().map(|(_, timers)| timers).sum();
    let (_, later) = stretches.split_last()?;
    let mut leaving = None;
    let mut timers = 0;
    for (from, more) in later {
        timers += more;
        let from = *from;
        leaving = Some(Leaving { from, end, timers });
        if 2 * timers >= all {
            break;
        }
    }
    leaving.filter(|leaving| leaving.timers > 0)
}

/// Bytes of memory of a timer, about.
fn bytes_of_one<K: Key, N: Namespace>(hot: &TimerQueue<K, N>) -> u64 {
    let least = size_of::<Timer<K, N>>() as u64;
    let held = hot.account.bytes();
    held.checked_div(hot.len() as u64)
        .unwrap_or(least)
        .max(least)
}

/// Bytes that so many timers reserve at most, of which those for tables that are cut in two are no more than `most`.
fn bytes_for<K: Key, N: Namespace>(hot: &TimerQueue<K, N>, timers: usize, most: u64) -> u64 {
    let size = size_of::<Timer<K, N>>() as u64;
    let cuts = (2 + timers / CUT) as u64;
    let tables = cuts * 2 * FULL as u64 * (size + 1);
    timers as u64 * (bytes_of_one(hot) + size) + tables.min(most)
}

#[cfg(test)]
mod tests {
    use thalweg_core::{KeyHash, Timestamp};

    use super::*;

    #[test]
    fn the_later_half_leaves_and_the_first_stretch_stays() {
        let order = |at| Order::of(Timestamp(at), KeyHash(0));
        let half = |stretches: &[(i64, usize)]| {
            let stretches: Vec<_> = stretches.iter().map(|(at, n)| (order(*at), *n)).collect();
            later_half(&stretches, None).map(|leaving| (leaving.from, leaving.timers))
        };
        assert_eq!(half(&[]), None);
        assert_eq!(half(&[(0, 100)]), None);
        assert_eq!(half(&[(9, 1), (0, 100)]), Some((order(9), 1)));
        assert_eq!(half(&[(9, 0), (0, 100)]), None);
        assert_eq!(half(&[(9, 60), (5, 40), (0, 10)]), Some((order(9), 60)));
        assert_eq!(half(&[(9, 40), (5, 40), (0, 40)]), Some((order(5), 80)));
    }
}
