//! Piles: runs of partial results, which join instead of hiding one another.
//!
//! Entered by an operator that keeps tables of its own and lets whole ones go to disk when memory is short
//! ([`PileWriter`]), and that goes through everything there is of some key groups when it needs it ([`PileReader`]).
//! [`Piles`] is what one operator has for both: its share of the memory and its way to the disk. Rows of one key may
//! lie in several piles and in memory: whoever reads them puts them together, and writes each pile under a namespace
//! of its own, so that a checkpoint that carries them keeps all. Piles in which single keys are looked for
//! ([`PileSeek`]) have filters and small blocks, others do without. Invariants: a pile is whole before anybody is given
//! it; nothing here waits. Lives on one shard's thread.

mod read;
mod seek;
mod write;

use std::ops::Range;
use std::rc::Rc;

use thalweg_core::shard::step::TurnContext;
use thalweg_memory::spill::{IoDone, IoQueue, RequestId};
use thalweg_memory::{Share, SpillError};

pub use read::{PileReader, Reading, Which};
pub use seek::PileSeek;
pub use write::{PileUse, PileWriter};

use super::cut::{AdoptedRun, CarriedRun};
use super::run::ColdRun;
use crate::snapshot::StateSize;

/// One run of partial results. Clones are the same.
#[derive(Clone)]
pub struct Pile {
    run: Rc<ColdRun>,
    /// The namespace of its rows, unless it is of a copy.
    namespace: Rc<[u8]>,
    /// It is of a copy: older piles of the copy may hold rows that it takes the place of.
    adopted: bool,
}

impl Pile {
    /// Takes a run of a copy over.
    #[must_use]
    pub fn adopt(run: AdoptedRun, piles: &mut Piles) -> Pile {
        let run = run.into_cold(piles.queue.files());
        // Opened at once: its owner may remove it.
        piles.queue.read(&run.file, 0, 0);
        Pile {
            run,
            namespace: Rc::default(),
            adopted: true,
        }
    }

    /// Whether it is of a copy: within it tombstones and values may stand side by side.
    #[must_use]
    pub fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Its rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.run.rows
    }

    /// Bytes of its file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.run.bytes
    }

    /// Bytes of memory.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.run.memory_bytes()
    }

    /// What it adds to the size of its state.
    #[must_use]
    pub fn size(&self) -> StateSize {
        StateSize {
            memory_bytes: self.memory_bytes(),
            disk_rows: self.rows(),
            disk_bytes: self.bytes(),
            ..StateSize::default()
        }
    }

    /// As a part of a cut.
    pub fn carried(&self) -> impl Iterator<Item = CarriedRun> + '_ {
        let groups = self.run.groups.iter();
        groups.map(|groups| CarriedRun::of(&self.run, groups.clone()))
    }
}

/// An operator's way to its piles.
pub struct Piles {
    share: Share,
    queue: IoQueue,
    groups: Range<u16>,
}

/// What the disk answers.
pub type Answer = (RequestId, Result<IoDone, SpillError>);

impl Piles {
    /// The way of an operator of these key groups, whose memory is shared with others by `share`.
    #[must_use]
    pub fn new(groups: Range<u16>, share: Share, queue: IoQueue) -> Piles {
        Piles {
            share,
            queue,
            groups,
        }
    }

    /// The key groups.
    #[must_use]
    pub fn groups(&self) -> Range<u16> {
        self.groups.clone()
    }

    /// How much memory the operator may hold.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.share.limit()
    }

    /// How much of it can be reserved now.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.share.budget().left()
    }

    /// Whether others hold more than their part and are at work on holding less, so that to wait is of use.
    #[must_use]
    pub fn others_shrink(&self) -> bool {
        self.share.others_shrink()
    }

    /// Tells how much the operator holds.
    pub fn holds(&self, bytes: u64) {
        self.share.holds(bytes);
    }

    /// Whether the operator holds more than its part, as others claim theirs.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.share.is_beyond()
    }

    /// Tells whether the operator could do with more memory than it has; `context` is that of its task, which is woken
    /// when it comes to hold more than its part.
    pub fn claims(&self, claims: bool, context: &TurnContext<'_>) {
        self.share.is_of(&context.waker());
        self.share.claims(claims);
    }

    /// Tells how much memory the operator could do with, as [`Piles::claims`] does where that is any.
    pub fn wants(&self, bytes: u64, context: &TurnContext<'_>) {
        self.share.is_of(&context.waker());
        self.share.wants(bytes);
    }

    /// Tells whether the operator is at work on something after which it holds less.
    pub fn shrinks(&self, shrinks: bool) {
        self.share.shrinks(shrinks);
    }

    /// Whether the disk is at work.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.queue.pending() > 0
    }

    /// Takes in what the disk has done and hands on what was asked of it. What completes wakes the task.
    pub fn poll(&mut self, context: &mut TurnContext<'_>) {
        self.queue.poll(context);
    }

    /// Takes the next answer of the disk, to be shown to whoever may have asked.
    pub fn next_answer(&mut self) -> Option<Answer> {
        self.queue.next_done()
    }
}
