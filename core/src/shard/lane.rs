//! The lane: the one-way queue between two shards, and the only thing records cross on.
//!
//! One shard holds the [`LaneSender`], one the [`LaneReceiver`]; both may move to their threads but
//! neither can be cloned, which is what makes a single producer and a single consumer a fact of the
//! types. A bounded ring of `capacity` (a power of two) cells lies between them.
//!
//! How it is fast: items are pushed privately and made visible in batches by one store
//! ([`LaneSender::publish`]); each side keeps its own index in its own cache line, beside a copy of the
//! other side's index that is refreshed only when the copy says "full" or "empty". A side therefore
//! touches a line of the other about once per batch, not once per item.
//!
//! Invariants (indices count up for ever and wrap; `&mask` gives the cell):
//! 1. `head <= tail <= pushed <= head + capacity`, where `head` is the receiver's, `tail` the published
//!    and `pushed` the sender's private index;
//! 2. cells in `head..tail` hold items and belong to the receiver, cells in `tail..pushed` hold items and
//!    belong to the sender, all others are vacant and belong to the sender;
//! 3. `tail` is stored with Release and loaded with Acquire, so an item is written before it is seen;
//!    `head` likewise, so a cell has been read before it is written again. The loom models at the end
//!    of this file fail when either is weakened.
//! 4. Dropping an end closes the lane. What was pushed is published first, so nothing is lost by
//!    forgetting to publish; what nobody takes is dropped exactly once, by whichever end goes last.

use crossbeam_utils::CachePadded;
use std::fmt;
use std::mem::MaybeUninit;

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};
#[cfg(not(loom))]
use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// `std`'s cell behind the two methods of loom's, so that the lane is written once.
#[cfg(not(loom))]
struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline(always)]
    fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// What both ends hold.
struct Ring<T> {
    /// Written by the receiver: the next cell it will take.
    head: CachePadded<AtomicUsize>,
    /// Written by the sender: the first cell it has not published.
    tail: CachePadded<AtomicUsize>,
    /// Written once by each end. Away from the indices, which are written all the time.
    closed: CachePadded<Closed>,
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

struct Closed {
    sender: AtomicBool,
    receiver: AtomicBool,
}

// SAFETY: the cells are reached only through the two ends, and by invariant 2 no cell is ever reached by
// both at once; items move from one thread to the other, hence `T: Send`.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above; the ends never hand out a `&T` into the ring that both threads could hold.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    fn mask(&self) -> usize {
        self.cells.len() - 1
    }

    /// Puts an item into the vacant cell of `index`.
    ///
    /// # Safety
    /// The cell must be vacant and belong to the caller (invariant 2).
    #[inline(always)]
    unsafe fn write(&self, index: usize, item: T) {
        debug_assert!((index & self.mask()) < self.cells.len());
        // SAFETY: `x & (len - 1) < len`, and a ring has at least one cell.
        let cell = unsafe { self.cells.get_unchecked(index & self.mask()) };
        cell.with_mut(|place| {
            // SAFETY: the caller owns the cell, so nobody else has a reference into it.
            unsafe { place.write(MaybeUninit::new(item)) }
        });
    }

    /// Moves the item out of the cell of `index`, which is vacant afterwards.
    ///
    /// # Safety
    /// The cell must hold an item and belong to the caller (invariant 2), who treats it as vacant after.
    #[inline(always)]
    unsafe fn take(&self, index: usize) -> T {
        debug_assert!((index & self.mask()) < self.cells.len());
        // SAFETY: `x & (len - 1) < len`, and a ring has at least one cell.
        let cell = unsafe { self.cells.get_unchecked(index & self.mask()) };
        let item = cell.with(|place| {
            // SAFETY: the caller owns the cell; bitwise copy of a `MaybeUninit` makes no promise yet.
            unsafe { place.read() }
        });
        // SAFETY: the cell held an item, and the caller gives up the copy left in it.
        unsafe { item.assume_init() }
    }
}

/// Whether loom has found a bug and is unwinding: then the ends leave everything as it is, for touching a
/// cell again would report the bug again, in a destructor.
#[inline(always)]
fn model_has_failed() -> bool {
    cfg!(loom) && std::thread::panicking()
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if model_has_failed() {
            return;
        }
        // Both ends are gone (each holds the ring), and the sender published all it had pushed.
        let tail = self.tail.load(Ordering::Acquire);
        let mut index = self.head.load(Ordering::Acquire);
        debug_assert!(tail.wrapping_sub(index) <= self.cells.len());
        while index != tail {
            // SAFETY: cells in `head..tail` hold items, and `&mut self` means nobody else is here.
            drop(unsafe { self.take(index) });
            index = index.wrapping_add(1);
        }
    }
}

/// Makes a lane with room for `capacity` items, rounded up to a power of two.
///
/// ```
/// use thalweg_core::shard::lane::lane;
/// let (mut sender, mut receiver) = lane::<u32>(4);
/// assert!(sender.push(7).is_ok());
/// assert_eq!(receiver.pop(), None, "pushed is not yet published");
/// sender.publish();
/// assert_eq!(receiver.pop(), Some(7));
/// ```
///
/// What must stay on its thread cannot cross:
///
/// ```compile_fail
/// let ends = thalweg_core::shard::lane::lane::<std::rc::Rc<u32>>(4);
/// ```
///
/// # Panics
/// When `capacity` is 0 or above 2^31.
#[must_use]
pub fn lane<T: Send>(capacity: usize) -> (LaneSender<T>, LaneReceiver<T>) {
    assert!(capacity > 0, "a lane needs room for at least one item");
    assert!(
        capacity <= 1 << 31,
        "a lane of {capacity} items is not a bound"
    );
    let cells = (0..capacity.next_power_of_two())
        .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
        .collect();
    let ring = Arc::new(Ring {
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        closed: CachePadded::new(Closed {
            sender: AtomicBool::new(false),
            receiver: AtomicBool::new(false),
        }),
        cells,
    });
    let sender = LaneSender {
        ring: Arc::clone(&ring),
        pushed: 0,
        published: 0,
        head_seen: 0,
        #[cfg(all(test, loom))]
        publish_order: Ordering::Release,
    };
    let receiver = LaneReceiver {
        ring,
        head: 0,
        tail_seen: 0,
        #[cfg(all(test, loom))]
        release_order: Ordering::Release,
    };
    (sender, receiver)
}

/// The producing end of a lane. Lives on one shard; may be moved there once.
pub struct LaneSender<T> {
    ring: Arc<Ring<T>>,
    /// One past the last item pushed; private to this end.
    pushed: usize,
    /// One past the last item made visible: what `ring.tail` holds.
    published: usize,
    /// The receiver's head as last read; the truth is at or after it.
    head_seen: usize,
    #[cfg(all(test, loom))]
    publish_order: Ordering,
}

impl<T> LaneSender<T> {
    /// Puts `item` in, not yet visible to the receiver: [`LaneSender::publish`] makes it so.
    ///
    /// # Errors
    /// Gives the item back when the lane is full. A lane whose receiver is gone fills up and then stays
    /// full: ask [`LaneSender::is_closed`].
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.pushed.wrapping_sub(self.head_seen) == self.ring.cells.len() && !self.refresh() {
            return Err(item);
        }
        debug_assert!(self.pushed.wrapping_sub(self.head_seen) < self.ring.cells.len());
        // SAFETY: `pushed < head + capacity` (just checked against a head that only grows), so the cell
        // is vacant and this end's; `refresh` acquired the receiver's last read of it.
        unsafe { self.ring.write(self.pushed, item) };
        self.pushed = self.pushed.wrapping_add(1);
        Ok(())
    }

    /// Makes all that was pushed visible to the receiver. One store, none if nothing is new.
    #[inline]
    pub fn publish(&mut self) {
        if self.published == self.pushed {
            return;
        }
        self.published = self.pushed;
        self.ring.tail.store(self.pushed, self.publish_order());
    }

    /// Pushes one item and publishes it at once, with all that was pushed before.
    ///
    /// # Errors
    /// Gives the item back when the lane is full; what was pushed before is published all the same.
    #[inline]
    pub fn send(&mut self, item: T) -> Result<(), T> {
        let outcome = self.push(item);
        self.publish();
        outcome
    }

    /// How many items can be pushed now. Reads the receiver's index, so the answer is exact but for what
    /// the receiver takes meanwhile.
    #[inline]
    pub fn free(&mut self) -> usize {
        self.refresh();
        let used = self.pushed.wrapping_sub(self.head_seen);
        debug_assert!(used <= self.capacity());
        self.capacity() - used
    }

    /// Whether something was pushed and not yet published.
    #[inline]
    #[must_use]
    pub fn has_unpublished(&self) -> bool {
        self.pushed != self.published
    }

    /// How many items the lane holds at most.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.cells.len()
    }

    /// Whether the receiver is gone: what is sent from now on is dropped with the lane.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ring.closed.receiver.load(Ordering::Acquire)
    }

    /// Reads the receiver's head; says whether there is room.
    #[cold]
    fn refresh(&mut self) -> bool {
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        self.pushed.wrapping_sub(self.head_seen) < self.ring.cells.len()
    }

    #[cfg(not(all(test, loom)))]
    #[inline(always)]
    fn publish_order(&self) -> Ordering {
        Ordering::Release
    }

    #[cfg(all(test, loom))]
    fn publish_order(&self) -> Ordering {
        self.publish_order
    }
}

impl<T> Drop for LaneSender<T> {
    fn drop(&mut self) {
        if model_has_failed() {
            return;
        }
        self.publish();
        // After the last publish: a receiver that sees "closed" and then an empty lane has seen all.
        self.ring.closed.sender.store(true, Ordering::Release);
    }
}

impl<T> fmt::Debug for LaneSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneSender")
            .field("capacity", &self.capacity())
            .field("unpublished", &self.pushed.wrapping_sub(self.published))
            .finish_non_exhaustive()
    }
}

/// The consuming end of a lane. Lives on one shard; may be moved there once.
pub struct LaneReceiver<T> {
    ring: Arc<Ring<T>>,
    /// The next cell to take: what `ring.head` holds, but inside [`LaneReceiver::drain`].
    head: usize,
    /// The sender's tail as last read; the truth is at or after it.
    tail_seen: usize,
    #[cfg(all(test, loom))]
    release_order: Ordering,
}

impl<T> LaneReceiver<T> {
    /// Takes the oldest published item.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen && !self.refresh() {
            return None;
        }
        // SAFETY: `head < tail`, so the cell holds an item and is this end's; the tail was acquired.
        let item = unsafe { self.ring.take(self.head) };
        self.head = self.head.wrapping_add(1);
        self.release();
        Some(item)
    }

    /// Takes up to `max` items, oldest first, and gives each to `take`; returns how many. Their cells are
    /// handed back to the sender together, at the end.
    ///
    /// # Panics
    /// Only when `take` does; the item it was given and those before it are then gone from the lane, and
    /// all others are still in it.
    #[inline]
    pub fn drain(&mut self, max: usize, mut take: impl FnMut(T)) -> usize {
        if self.tail_seen.wrapping_sub(self.head) < max {
            self.refresh();
        }
        let count = self.tail_seen.wrapping_sub(self.head).min(max);
        if count == 0 {
            return 0;
        }
        let end = self.head.wrapping_add(count);
        // Hands the cells back also when `take` panics: what was moved out must not be dropped again.
        let handing_back = HandBack(self);
        while handing_back.0.head != end {
            // SAFETY: `head < end <= tail`, so the cell holds an item and is this end's.
            let item = unsafe { handing_back.0.ring.take(handing_back.0.head) };
            handing_back.0.head = handing_back.0.head.wrapping_add(1);
            take(item);
        }
        count
    }

    /// Whether nothing is published now.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        self.head == self.tail_seen && !self.refresh()
    }

    /// How many items the lane holds at most.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.cells.len()
    }

    /// Whether the sender is gone. Ask this *first* and then take: what is not there after a `true` never
    /// will be.
    #[inline]
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ring.closed.sender.load(Ordering::Acquire)
    }

    /// Reads the sender's tail; says whether there is an item.
    #[inline]
    fn refresh(&mut self) -> bool {
        self.tail_seen = self.ring.tail.load(Ordering::Acquire);
        debug_assert!(self.tail_seen.wrapping_sub(self.head) <= self.ring.cells.len());
        self.head != self.tail_seen
    }

    /// Hands all cells before `head` back to the sender.
    #[inline(always)]
    fn release(&mut self) {
        self.ring.head.store(self.head, self.release_order());
    }

    #[cfg(not(all(test, loom)))]
    #[inline(always)]
    fn release_order(&self) -> Ordering {
        Ordering::Release
    }

    #[cfg(all(test, loom))]
    fn release_order(&self) -> Ordering {
        self.release_order
    }
}

impl<T> Drop for LaneReceiver<T> {
    fn drop(&mut self) {
        if model_has_failed() {
            return;
        }
        self.ring.closed.receiver.store(true, Ordering::Release);
        // Free what is there now and not only with the sender, who may live long. What comes after this
        // is dropped with the ring.
        while self.pop().is_some() {}
    }
}

impl<T> fmt::Debug for LaneReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneReceiver")
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// Publishes the receiver's head when a drain ends, however it ends.
struct HandBack<'a, T>(&'a mut LaneReceiver<T>);

impl<T> Drop for HandBack<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn what_is_pushed_is_seen_only_after_publishing() {
        let (mut sender, mut receiver) = lane(4);
        assert_eq!(sender.push(1), Ok(()));
        assert_eq!(sender.push(2), Ok(()));
        assert!(receiver.is_empty() && sender.has_unpublished());
        assert_eq!(receiver.pop(), None);
        sender.publish();
        assert!(!receiver.is_empty() && !sender.has_unpublished());
        assert_eq!(
            (receiver.pop(), receiver.pop(), receiver.pop()),
            (Some(1), Some(2), None)
        );
    }

    #[test]
    fn a_full_lane_gives_the_item_back_and_unpublished_items_count() {
        let (mut sender, mut receiver) = lane(3);
        assert_eq!(sender.capacity(), 4, "rounded up to a power of two");
        for item in 0..4 {
            assert_eq!(sender.push(item), Ok(()));
        }
        assert_eq!(sender.push(9), Err(9));
        assert_eq!(sender.free(), 0);
        assert_eq!(receiver.pop(), None);
        assert_eq!(sender.send(9), Err(9), "send publishes also when it fails");
        assert_eq!(receiver.pop(), Some(0));
        assert_eq!(sender.free(), 1);
        assert_eq!(sender.send(4), Ok(()));
        let mut rest = Vec::new();
        assert_eq!(receiver.drain(usize::MAX, |item| rest.push(item)), 4);
        assert_eq!(rest, [1, 2, 3, 4]);
    }

    #[test]
    fn drain_takes_no_more_than_asked() {
        let (mut sender, mut receiver) = lane(8);
        for item in 0..6 {
            sender.push(item).unwrap();
        }
        sender.publish();
        let mut taken = Vec::new();
        assert_eq!(receiver.drain(0, |_| unreachable!("nothing was asked")), 0);
        assert_eq!(receiver.drain(4, |item| taken.push(item)), 4);
        assert_eq!(receiver.drain(4, |item| taken.push(item)), 2);
        assert_eq!(taken, [0, 1, 2, 3, 4, 5]);
        assert_eq!(sender.free(), 8);
    }

    #[test]
    fn dropping_the_sender_publishes_then_closes() {
        let (mut sender, mut receiver) = lane(4);
        sender.push(String::from("last words")).unwrap();
        assert!(!receiver.is_closed());
        drop(sender);
        assert!(receiver.is_closed());
        assert_eq!(receiver.pop().as_deref(), Some("last words"));
        assert_eq!(receiver.pop(), None);
    }

    #[test]
    fn dropping_the_receiver_closes_and_frees_what_lay_in_the_lane() {
        let token = std::sync::Arc::new(());
        let (mut sender, receiver) = lane(4);
        sender.send(std::sync::Arc::clone(&token)).unwrap();
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(std::sync::Arc::strong_count(&token), 1, "freed at once");
        while sender.send(std::sync::Arc::clone(&token)).is_ok() {}
        assert_eq!(sender.free(), 0, "nobody takes, so it stays full");
        drop(sender);
        assert_eq!(
            std::sync::Arc::strong_count(&token),
            1,
            "the rest with the lane"
        );
    }

    #[test]
    fn a_panic_while_draining_loses_only_what_was_taken() {
        let token = std::sync::Arc::new(());
        let (mut sender, mut receiver) = lane(4);
        for number in 0..4 {
            sender
                .push((number, std::sync::Arc::clone(&token)))
                .unwrap();
        }
        sender.publish();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            receiver.drain(4, |(number, _token)| assert!(number < 1, "second item"));
        }));
        assert!(outcome.is_err());
        assert_eq!(std::sync::Arc::strong_count(&token), 3);
        assert_eq!(receiver.pop().map(|(number, _)| number), Some(2));
        drop((sender, receiver));
        assert_eq!(std::sync::Arc::strong_count(&token), 1);
    }

    #[test]
    fn indices_may_wrap() {
        let (mut sender, mut receiver) = lane::<usize>(4);
        let near_the_end = usize::MAX - 5;
        sender.ring.head.store(near_the_end, Ordering::Relaxed);
        sender.ring.tail.store(near_the_end, Ordering::Relaxed);
        (sender.pushed, sender.published, sender.head_seen) = (near_the_end, near_the_end, 0);
        sender.head_seen = near_the_end;
        (receiver.head, receiver.tail_seen) = (near_the_end, near_the_end);
        for item in 0..64 {
            sender.send(item).unwrap();
            assert_eq!(sender.free(), 3);
            assert_eq!(receiver.pop(), Some(item));
        }
    }

    #[test]
    fn items_of_no_size_are_counted() {
        let (mut sender, mut receiver) = lane::<()>(2);
        sender.push(()).unwrap();
        sender.push(()).unwrap();
        assert_eq!(sender.push(()), Err(()));
        sender.publish();
        assert_eq!(receiver.drain(9, |()| {}), 2);
    }

    proptest! {
        /// Any sequence of calls behaves as a bounded queue with a published prefix.
        #[test]
        fn behaves_as_a_queue(
            capacity in 1_usize..9,
            calls in proptest::collection::vec(0_u8..6, 0..200),
        ) {
            let (mut sender, mut receiver) = lane(capacity);
            let capacity = capacity.next_power_of_two();
            let (mut visible, mut hidden) = (VecDeque::new(), VecDeque::new());
            for (item, call) in calls.into_iter().enumerate() {
                match call {
                    0 | 1 => {
                        let full = visible.len() + hidden.len() == capacity;
                        prop_assert_eq!(sender.push(item).is_err(), full);
                        if !full { hidden.push_back(item); }
                    }
                    2 => { sender.publish(); visible.append(&mut hidden); }
                    3 => prop_assert_eq!(receiver.pop(), visible.pop_front()),
                    4 => {
                        let max = item % 5;
                        let mut taken = VecDeque::new();
                        receiver.drain(max, |item| taken.push_back(item));
                        let rest = visible.split_off(max.min(visible.len()));
                        prop_assert_eq!(taken, std::mem::replace(&mut visible, rest));
                    }
                    _ => {
                        prop_assert_eq!(sender.free(), capacity - visible.len() - hidden.len());
                        prop_assert_eq!(receiver.is_empty(), visible.is_empty());
                    }
                }
            }
        }
    }

    /// Two real threads, two million boxed items in order, batch sizes that never divide the capacity.
    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "the two ends of a lane are on two threads"
    )]
    fn two_threads_pass_everything_in_order() {
        const COUNT: u64 = 2_000_000;
        let (mut sender, mut receiver) = lane::<Box<u64>>(64);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut next = 0;
                while next < COUNT {
                    for _ in 0..7 {
                        if next < COUNT && sender.push(Box::new(next)).is_ok() {
                            next += 1;
                        }
                    }
                    sender.publish();
                    if sender.free() == 0 {
                        std::thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            loop {
                let closed = receiver.is_closed();
                let taken = receiver.drain(13, |item| {
                    assert_eq!(*item, expected);
                    expected += 1;
                });
                if taken == 0 && closed {
                    break;
                }
                if taken == 0 {
                    std::thread::yield_now();
                }
            }
            assert_eq!(expected, COUNT);
        });
    }

    /// The ends may move to another thread, but not be in two.
    #[test]
    fn ends_are_send() {
        fn assert_send<T: Send>(_: &T) {}
        let (sender, receiver) = lane::<u64>(1);
        assert_send(&sender);
        assert_send(&receiver);
    }
}

/// Exhaustive models of the memory orderings. Run by
/// `RUSTFLAGS="--cfg loom" cargo test -p thalweg-core --release --lib lane`.
#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::thread;

    /// Explores every interleaving of a sender of `count` items (published by `batch`) over a lane of
    /// `capacity` with a receiver; `weaken` may plant a bug first.
    fn explore(
        capacity: usize,
        count: usize,
        batch: usize,
        weaken: impl Fn(&mut LaneSender<Box<usize>>, &mut LaneReceiver<Box<usize>>)
        + Sync
        + Send
        + 'static,
    ) {
        loom::model(move || {
            let (mut sender, mut receiver) = lane::<Box<usize>>(capacity);
            weaken(&mut sender, &mut receiver);
            let producer = thread::spawn(move || {
                let mut next = 0;
                while next < count {
                    for _ in 0..batch {
                        if next < count && sender.push(Box::new(next)).is_ok() {
                            next += 1;
                        }
                    }
                    sender.publish();
                    thread::yield_now();
                }
            });
            let mut expected = 0;
            while expected < count {
                let taken = receiver.drain(2, |item| {
                    assert_eq!(*item, expected);
                    expected += 1;
                });
                if taken == 0 {
                    thread::yield_now();
                }
            }
            assert!(receiver.pop().is_none());
            producer.join().unwrap();
        });
    }

    #[test]
    fn batches_cross_in_order() {
        explore(2, 4, 2, |_, _| {});
    }

    #[test]
    fn single_items_cross_a_lane_of_one() {
        explore(1, 3, 1, |_, _| {});
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn a_relaxed_publish_is_found() {
        explore(2, 4, 2, |sender, _| {
            sender.publish_order = Ordering::Relaxed
        });
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn a_relaxed_hand_back_is_found() {
        explore(1, 3, 1, |_, receiver| {
            receiver.release_order = Ordering::Relaxed
        });
    }

    /// The receiver leaves at any moment: nothing leaks (loom checks), nothing is dropped twice.
    #[test]
    fn the_receiver_may_leave_at_any_moment() {
        loom::model(|| {
            let token = Arc::new(());
            let (mut sender, mut receiver) = lane(2);
            let given = Arc::clone(&token);
            let producer = thread::spawn(move || {
                let _ = sender.send(Arc::clone(&given));
                let _ = sender.send(given);
                sender.is_closed()
            });
            drop(receiver.pop());
            drop(receiver);
            producer.join().unwrap();
            assert_eq!(Arc::strong_count(&token), 1);
        });
    }

    /// The sender leaves with items not yet published: "closed, then empty" means all was seen.
    #[test]
    fn closed_then_empty_means_all_was_seen() {
        loom::model(|| {
            let (mut sender, mut receiver) = lane(2);
            let producer = thread::spawn(move || {
                sender.push(1).unwrap();
                sender.publish();
                sender.push(2).unwrap();
            });
            let mut seen = 0;
            loop {
                let closed = receiver.is_closed();
                match receiver.pop() {
                    Some(_) => seen += 1,
                    None if closed => break,
                    None => thread::yield_now(),
                }
            }
            assert_eq!(seen, 2);
            producer.join().unwrap();
        });
    }
}
