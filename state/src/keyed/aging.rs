//! Values that last, and values that expire: two ways of keeping one in a table.
//!
//! Entered by the tables of every kind of state, which are written once over [`Aging`] and compiled twice.
//! Invariant: what lasts is kept as it is, and no code looks at a clock for it. Lives on one shard's
//! thread.

use std::cell::Cell;
use std::rc::Rc;

use thalweg_core::Timestamp;
use thalweg_memory::Record;

use crate::ttl::{StateTtl, TtlUpdate, TtlVisibility};

/// The processing time of one operator, set by it once per turn.
pub(crate) type ProcessingClock = Rc<Cell<Timestamp>>;

/// Whether the time of what is kept has passed.
pub(crate) type IsExpired<Kept> = Box<dyn Fn(&Kept) -> bool>;

/// How values are kept.
pub(crate) trait Aging<V: Record>: Clone + 'static {
    /// What is in the table.
    type Kept: Record;
    /// Whether anything ever expires.
    const AGES: bool;

    /// A value as new.
    fn keep(&self, value: V) -> Self::Kept;
    /// The value.
    fn value(kept: &Self::Kept) -> &V;
    /// The value, to change.
    fn value_mut(kept: &mut Self::Kept) -> &mut V;
    /// The value alone.
    fn into_value(kept: Self::Kept) -> V;
    /// Makes it as new.
    fn refresh(&self, kept: &mut Self::Kept);
    /// Whether its time has passed.
    fn is_expired(&self, kept: &Self::Kept) -> bool;
    /// The same as of now, for who asks later.
    fn is_expired_by_now(&self) -> IsExpired<Self::Kept>;
    /// Whether what has expired may still be shown.
    fn shows_expired(&self) -> bool;
    /// Whether reading makes it as new.
    fn refreshes_on_read(&self) -> bool;

    /// Whether it must not be shown.
    #[inline(always)]
    fn is_hidden(&self, kept: &Self::Kept) -> bool {
        Self::AGES && !self.shows_expired() && self.is_expired(kept)
    }
}

/// Values without a time to live.
#[derive(Clone)]
pub(crate) struct Lasting;

impl<V: Record> Aging<V> for Lasting {
    type Kept = V;
    const AGES: bool = false;

    #[inline(always)]
    fn keep(&self, value: V) -> V {
        value
    }
    #[inline(always)]
    fn value(kept: &V) -> &V {
        kept
    }
    #[inline(always)]
    fn value_mut(kept: &mut V) -> &mut V {
        kept
    }
    #[inline(always)]
    fn into_value(kept: V) -> V {
        kept
    }
    #[inline(always)]
    fn refresh(&self, _: &mut V) {}
    #[inline(always)]
    fn is_expired(&self, _: &V) -> bool {
        false
    }
    fn is_expired_by_now(&self) -> IsExpired<V> {
        Box::new(|_| false)
    }
    #[inline(always)]
    fn shows_expired(&self) -> bool {
        false
    }
    #[inline(always)]
    fn refreshes_on_read(&self) -> bool {
        false
    }
}

/// Values with a time to live: beside each stands when it was last touched, in milliseconds.
#[derive(Clone)]
pub(crate) struct Expiring {
    ttl: StateTtl,
    clock: ProcessingClock,
}

impl Expiring {
    pub(crate) fn new(ttl: StateTtl, clock: ProcessingClock) -> Expiring {
        Expiring { ttl, clock }
    }

    /// What was touched before is not shown; none where all may be.
    pub(crate) fn oldest_shown(&self) -> Option<i64> {
        match self.ttl.visibility() {
            TtlVisibility::NeverReturnExpired => Some(self.ttl.oldest_alive(self.clock.get())),
            TtlVisibility::ReturnExpiredIfNotCleanedUp => None,
        }
    }
}

impl<V: Record> Aging<V> for Expiring {
    type Kept = (V, i64);
    const AGES: bool = true;

    fn keep(&self, value: V) -> (V, i64) {
        (value, self.clock.get().0)
    }
    fn value(kept: &(V, i64)) -> &V {
        &kept.0
    }
    fn value_mut(kept: &mut (V, i64)) -> &mut V {
        &mut kept.0
    }
    fn into_value(kept: (V, i64)) -> V {
        kept.0
    }
    fn refresh(&self, kept: &mut (V, i64)) {
        kept.1 = self.clock.get().0;
    }
    fn is_expired(&self, kept: &(V, i64)) -> bool {
        self.ttl.is_over(Timestamp(kept.1), self.clock.get())
    }
    fn is_expired_by_now(&self) -> IsExpired<(V, i64)> {
        let oldest_alive = self.ttl.oldest_alive(self.clock.get());
        Box::new(move |kept| kept.1 < oldest_alive)
    }
    fn shows_expired(&self) -> bool {
        self.ttl.visibility() == TtlVisibility::ReturnExpiredIfNotCleanedUp
    }
    fn refreshes_on_read(&self) -> bool {
        self.ttl.update() == TtlUpdate::OnReadAndWrite
    }
}
