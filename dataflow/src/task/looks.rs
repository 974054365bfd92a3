//! When a consumer's turn looks at the clock.
//!
//! A look costs as much as a record, so its distance follows from what turns before came to: about [`LOOKS`] in a
//! turn that uses up its time. Invariants: the distance is counted over buffers, whatever their size; a look that
//! comes late brings the next ones near. Plain data, lives on one shard's thread.

use thalweg_core::shard::step::TurnContext;

/// Entries applied between two looks, at least and at most.
const DISTANCE: (usize, usize) = (64, 512);
/// Looks in a turn that uses up its time.
const LOOKS: u64 = 32;
/// A look is late when so many times as long has passed as should lie between two.
const LATE: u64 = 4;

/// The looks of a task.
pub(super) struct Looks {
    distance: usize,
    /// Entries applied since the last look.
    since: usize,
    /// Entries applied in this turn.
    records: u64,
    /// When the last look was, or the turn began, ns of the shard's clock.
    last: u64,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self {
            distance: DISTANCE.0,
            since: 0,
            records: 0,
            last: 0,
        }
    }

    /// A turn begins now.
    pub(super) fn begin_turn(&mut self, now: u64) {
        (self.since, self.records, self.last) = (0, 0, now);
    }

    /// How many entries may be applied before the next look.
    pub(super) fn left(&self) -> usize {
        self.distance.saturating_sub(self.since).max(1)
    }

    /// So many were applied.
    pub(super) fn applied(&mut self, entries: usize) {
        self.since += entries;
        self.records += entries as u64;
    }

    /// Whether a look is due.
    pub(super) fn are_due(&self) -> bool {
        self.since >= self.distance
    }

    /// Looks at the clock; whether the turn's time is used up.
    pub(super) fn look(&mut self, context: &mut TurnContext<'_>) -> bool {
        let (begun, budget) = (context.now(), context.budget());
        self.judge(context.reactor().now(), begun, budget)
    }

    fn judge(&mut self, now: u64, begun: u64, budget: u64) -> bool {
        let passed = now.saturating_sub(self.last);
        (self.since, self.last) = (0, now);
        let over = now.saturating_sub(begun) >= budget;
        if over {
            let distance = usize::try_from(self.records / LOOKS).unwrap_or(usize::MAX);
            self.distance = distance.clamp(DISTANCE.0, DISTANCE.1);
        } else if passed > (budget / LOOKS).saturating_mul(LATE) {
            self.distance = DISTANCE.0;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: u64 = 200_000;

    /// Turns over buffers of so many records, each of which takes so many ns: how long the last one was, and its looks.
    fn turns(looks: &mut Looks, turns: u32, buffer: usize, ns: u64) -> (u64, u64) {
        let (mut length, mut count) = (0, 0);
        for turn in 0..turns {
            let begun = u64::from(turn) * 1_000_000_000;
            looks.begin_turn(begun);
            (length, count) = (0, 0);
            let mut rest = buffer;
            loop {
                let applied = looks.left().min(rest);
                rest -= applied;
                looks.applied(applied);
                length += applied as u64 * ns;
                if looks.are_due() {
                    count += 1;
                    if looks.judge(begun + length, begun, BUDGET) {
                        break;
                    }
                }
                if rest == 0 {
                    rest = buffer;
                }
            }
        }
        (length, count)
    }

    #[test]
    fn a_turn_ends_by_its_time_whatever_the_size_of_buffers_and_the_clock_is_seldom_read() {
        for buffer in [1, 7, 100, 5_000] {
            let mut looks = Looks::new();
            // As at first: 8,000 records of 25 ns.
            let (_, first) = turns(&mut looks, 1, buffer, 25);
            assert!(first > 100, "{first}");
            let (length, count) = turns(&mut looks, 2, buffer, 25);
            assert!(count <= LOOKS + 2, "{count}");
            assert!(length < BUDGET + BUDGET / 16, "{length}");
        }
    }

    #[test]
    fn records_that_become_slow_are_late_once() {
        let mut looks = Looks::new();
        turns(&mut looks, 2, 1_000, 5);
        assert_eq!(looks.left(), DISTANCE.1);
        // A look comes late within the turn: the rest of it looks often again.
        let (slow, _) = turns(&mut looks, 1, 100, 150);
        assert!(slow < BUDGET + 2 * 64 * 150, "{slow}");
        // One that ends the turn, and no other after it.
        turns(&mut looks, 2, 1_000, 5);
        let (slower, _) = turns(&mut looks, 1, 100, 10_000);
        assert_eq!(slower, DISTANCE.1 as u64 * 10_000);
        let (after, _) = turns(&mut looks, 1, 100, 10_000);
        assert_eq!(after, DISTANCE.0 as u64 * 10_000);
    }
}
