//! State larger than memory: a table whose entries overflow into runs on disk.
//!
//! Entered through a [`LayeredTable`] that has an [`Overflow`]. Its table is the hot layer, bounded
//! by the operator's share of the slot's memory; `run` is one file of entries that are not in it, `lookup`
//! reads entries back, `gather` all of a key at once, `growth` says for how many records there is memory, `ahead` asks
//! for what records need, `hot` is what entries leave and come back to, `flush` moves entries out, `graves` remembers
//! what was removed, `merge` makes few runs of many, `keys` goes through all keys that runs hold, `cut` is the part of a
//! checkpoint that lies in runs, `index` tells from memory where in a run an entry may be. `pile` is another way to the
//! disk: whole tables whose rows join instead of hiding one another. `restoring` is for state that is to be in memory as a
//! whole: it comes there from the runs of a copy while its operator is at work.
//!
//! # The way of a batch
//! 1. Some records ahead of the one in work the operator *seeks* the entry of each. What is neither in
//!    memory nor, by the filters of all runs, nowhere is asked for.
//! 2. When the turn ends the requests go to the disk together. The head applies no record whose entry is
//!    not there; the task sleeps until something has come.
//! 3. What has come is admitted to the table, where the records ahead keep it until they are applied.
//!
//! # The way of an entry
//! It is changed in memory; when the table is nearly full a *round* over some of its buckets (`stride`) writes
//! what was not used lately to a run and drops it once the run is on the disk. An entry that was only read
//! since it came back is dropped without being written. Each entry carries a bit that says that a cold run
//! holds it as it is, which every change clears. An entry that is removed leaves a grave, and that a tombstone
//! in the next run; it may come again meanwhile, but not leave memory before that run. What has expired goes where
//! runs are merged, as if it had been removed.
//!
//! Invariants: an entry that is not in memory is, as it was last, in the newest run that knows its key; what
//! runs hold in memory (indexes, filters) counts as the table's; nothing here waits. A cold run is a run
//! like any other, so those that came since the last checkpoint are part of the next as they are. Lives on
//! one shard's thread.

mod ahead;
mod cut;
#[cfg(test)]
mod expiry_tests;
mod flush;
mod gather;
mod graves;
mod growth;
mod hot;
mod index;
mod keys;
mod layered;
mod lookup;
mod merge;
mod overflow;
mod pile;
mod restoring;
mod room;
mod run;
#[cfg(test)]
pub(crate) mod stage;
#[cfg(test)]
mod tests;

pub use cut::{AdoptedRun, CarriedRun};
pub(crate) use hot::{Candidate, HotLayer, Pick, Unit};
pub use layered::LayeredTable;
pub use overflow::{DUE, Overflow, Pressure};
pub use pile::{Answer, Pile, PileReader, PileSeek, PileUse, PileWriter, Piles, Reading, Which};
pub use restoring::Restoring;
