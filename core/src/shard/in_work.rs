//! Which operator of a chain is in work, for whoever watches the shard from outside.
//!
//! The operators of a task are fused into straight code: from outside nobody could tell in which of them a turn is.
//! Each writes its place down when user code of it begins, and the place that was there before when it ends
//! ([`OperatorScope`](super::panic::OperatorScope)): two plain stores to memory that nobody else writes. Where a head
//! works on many records at a time, that is once for all of them.
//!
//! Invariants: only the thread of the shard writes the place; the names never change. The place is read by the stall
//! watchdog, and may be over when its name is told.

use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The operators of one task, and which of them is in work.
#[derive(Debug)]
pub struct InWork {
    /// The place of the operator and 1, or 0 while none is in work.
    place: AtomicU32,
    names: Vec<Box<str>>,
}

impl InWork {
    /// No operator of these, in the order of their chain, is in work.
    #[must_use]
    pub fn new<N: Into<Box<str>>>(names: impl IntoIterator<Item = N>) -> Arc<InWork> {
        let names = names.into_iter().map(Into::into).collect();
        let place = AtomicU32::new(0);
        Arc::new(InWork { place, names })
    }

    /// The operator that is in work, if one is.
    #[must_use]
    pub fn operator(&self) -> Option<&str> {
        let place = self.place.load(Ordering::Relaxed).checked_sub(1)?;
        self.names.get(place as usize).map(|name| &**name)
    }

    /// The operator at this place, to be marked by. One that the chain does not have goes by `otherwise`, and is never
    /// told to be in work.
    #[must_use]
    pub fn name(self: &Arc<Self>, place: usize, otherwise: &str) -> OperatorName {
        let name = self.names.get(place).map_or(otherwise, |name| name);
        OperatorName {
            name: name.into(),
            mark: u32::try_from(place + 1).unwrap_or(u32::MAX),
            in_work: Arc::clone(self),
        }
    }
}

/// What an operator is called, and where it says that it is in work. Lives on its shard's thread.
#[derive(Clone, Debug)]
pub struct OperatorName {
    name: Rc<str>,
    mark: u32,
    in_work: Arc<InWork>,
}

impl OperatorName {
    /// The operator is in work; answers what was before, to be told to [`OperatorName::ends`].
    #[inline(always)]
    pub(super) fn begins(&self) -> u32 {
        // Relaxed: whoever reads it reads nothing that was written with it.
        let before = self.in_work.place.load(Ordering::Relaxed);
        self.in_work.place.store(self.mark, Ordering::Relaxed);
        before
    }

    /// It is not any more.
    #[inline(always)]
    pub(super) fn ends(&self, before: u32) {
        self.in_work.place.store(before, Ordering::Relaxed);
    }
}

/// An operator on its own, as tests have it.
impl From<&str> for OperatorName {
    fn from(name: &str) -> OperatorName {
        InWork::new([name]).name(0, name)
    }
}

impl Deref for OperatorName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.name
    }
}

impl AsRef<str> for OperatorName {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
