//! How the two threads of a limit run pass batches to each other.
//!
//! Two rings per direction: filled batches go out, the same boxes come home empty, so a batch is
//! allocated once and its bytes stay in the second-level cache of the two cores. A slot is one
//! pointer; null means empty, so producer and consumer share nothing but the slots themselves.
//! Invariant: every box is in exactly one place, a ring or a thread's hands.

use std::hint;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;

/// Batches in flight per direction; with 32 KiB batches a quarter of a mebibyte.
pub(super) const DEPTH: usize = 8;

/// One cache line pair, so that neighbours never share one.
#[derive(Default)]
#[repr(align(128))]
struct Slot<B>(AtomicPtr<B>);

/// A bounded queue of boxes from one thread to another.
pub(super) struct Ring<B> {
    slots: [Slot<B>; DEPTH],
}

impl<B> Ring<B> {
    fn empty() -> Self {
        Self {
            slots: std::array::from_fn(|_| Slot(AtomicPtr::new(ptr::null_mut()))),
        }
    }

    fn put(&self, at: &mut usize, batch: Box<B>) -> Result<(), Box<B>> {
        let slot = &self.slots[*at % DEPTH].0;
        if !slot.load(Ordering::Acquire).is_null() {
            return Err(batch);
        }
        slot.store(Box::into_raw(batch), Ordering::Release);
        *at += 1;
        Ok(())
    }

    fn take(&self, at: &mut usize) -> Option<Box<B>> {
        let slot = &self.slots[*at % DEPTH].0;
        let batch = slot.load(Ordering::Acquire);
        if batch.is_null() {
            return None;
        }
        slot.store(ptr::null_mut(), Ordering::Release);
        *at += 1;
        // SAFETY: only `put` stores non-null pointers, each from `Box::into_raw`, and only the one
        // consumer reaches this line for this slot before the producer may fill it again.
        Some(unsafe { Box::from_raw(batch) })
    }
}

impl<B> Drop for Ring<B> {
    fn drop(&mut self) {
        for at in 0..DEPTH {
            drop(self.take(&mut { at }));
        }
    }
}

/// Waiting for the other thread: spins first, then lets others have the core.
#[derive(Default)]
pub(super) struct Pause {
    rounds: u32,
}

impl Pause {
    /// Waits a little.
    pub(super) fn once_more(&mut self) {
        self.rounds += 1;
        if self.rounds < 200 {
            hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

/// The four rings between two threads.
pub(super) struct Exchange<B> {
    filled: [Ring<B>; 2],
    emptied: [Ring<B>; 2],
}

impl<B> Exchange<B> {
    /// Rings with nothing in them.
    pub(super) fn new() -> Self {
        Self {
            filled: [Ring::empty(), Ring::empty()],
            emptied: [Ring::empty(), Ring::empty()],
        }
    }

    /// The end of thread `thread`, 0 or 1; take each once.
    pub(super) fn end(&self, thread: usize, fresh: fn() -> Box<B>) -> End<'_, B> {
        assert!(thread < 2, "an exchange has two ends");
        End {
            exchange: self,
            thread,
            fresh,
            spare: DEPTH,
            sent: 0,
            received: 0,
            home: 0,
            away: 0,
        }
    }
}

/// One thread's end of an [`Exchange`].
pub(super) struct End<'a, B> {
    exchange: &'a Exchange<B>,
    thread: usize,
    fresh: fn() -> Box<B>,
    spare: usize,
    sent: usize,
    received: usize,
    home: usize,
    away: usize,
}

impl<B> End<'_, B> {
    /// Sends a filled batch and leaves an empty one; consumes arrivals while it has to wait.
    pub(super) fn send(&mut self, batch: &mut Box<B>, mut consume: impl FnMut(&mut B)) {
        let mut pause = Pause::default();
        let empty = loop {
            if let Some(empty) = self.empty() {
                break empty;
            }
            if !self.receive(&mut consume) {
                pause.once_more();
            }
        };
        let mut full = mem::replace(batch, empty);
        while let Err(back) = self.exchange.filled[self.thread].put(&mut self.sent, full) {
            full = back;
            if !self.receive(&mut consume) {
                pause.once_more();
            }
        }
    }

    fn empty(&mut self) -> Option<Box<B>> {
        let home = self.exchange.emptied[self.thread].take(&mut self.home);
        if home.is_none() && self.spare > 0 {
            self.spare -= 1;
            return Some((self.fresh)());
        }
        home
    }

    /// Consumes one arrived batch and sends its box home; whether there was one.
    pub(super) fn receive(&mut self, mut consume: impl FnMut(&mut B)) -> bool {
        let other = 1 - self.thread;
        let Some(mut batch) = self.exchange.filled[other].take(&mut self.received) else {
            return false;
        };
        consume(&mut batch);
        // The sender owns no more boxes than the ring has slots plus the one in hand, so the way
        // home can be full only for a moment; an overflowing box is simply freed.
        drop(self.exchange.emptied[other].put(&mut self.away, batch));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers {
        items: Vec<u64>,
        last: bool,
    }

    fn fresh() -> Box<Numbers> {
        Box::new(Numbers {
            items: Vec::new(),
            last: false,
        })
    }

    fn side(mut end: End<'_, Numbers>, batches: u64) -> u64 {
        let mut sum = 0;
        let mut ended = false;
        let mut consume = |batch: &mut Numbers| {
            sum += batch.items.drain(..).sum::<u64>();
            ended |= batch.last;
            batch.last = false;
        };
        let mut open = fresh();
        for number in 0..batches {
            open.items.extend([number, number]);
            end.send(&mut open, &mut consume);
            assert!(open.items.is_empty(), "a box comes home empty");
        }
        open.last = true;
        end.send(&mut open, &mut consume);
        let mut pause = Pause::default();
        while !ended {
            let arrived = end.receive(|batch| {
                sum += batch.items.drain(..).sum::<u64>();
                ended |= batch.last;
            });
            if !arrived {
                pause.once_more();
            }
        }
        sum
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "by hand: the two ends of the ring are on two threads"
    )]
    fn every_batch_arrives_once_in_both_directions() {
        let exchange = Exchange::new();
        let (left, right) = (exchange.end(0, fresh), exchange.end(1, fresh));
        let (left, right) = thread::scope(|scope| {
            let other = scope.spawn(|| side(right, 3_000));
            (side(left, 5_000), other.join().unwrap())
        });
        assert_eq!(left, 2_999 * 3_000);
        assert_eq!(right, 4_999 * 5_000);
    }
}
