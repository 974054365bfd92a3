//! Floor 2: what operators remember.
//!
//! Entered by keyed operators through a [`KeyedTable`] (the engine's own, which borrow keys from the
//! segment) or through the handles of a [`KeyedBackend`] (user functions, which have a current key). A
//! table keeps native values in open addressing, stamped with the epoch of their last change and divided
//! by key group, so that a group can be copied, moved or dropped alone. A [`TimerQueue`] keeps the timers.
//!
//! Invariants: state is changed only through the calls of a table or handle, so that stamps and memory
//! accounting see every change; every byte is reserved from the slot's budget; nothing here blocks.
//!
//! Everything lives on one shard's thread and is neither `Send` nor `Sync`.
#![forbid(unsafe_code)]

pub mod backend;
pub mod broadcast;
pub mod descriptor;
pub mod error;
pub mod keyed;
pub mod lsm;
pub mod migration;
pub mod run;
pub mod snapshot;
mod state_type;
pub mod table;
pub mod timer;
pub mod ttl;

pub use backend::{
    Backend, HashMapBackend, KeyedBackend, MakeOverflow, MakeRestoring, Residency, SnapshotWork,
    StateTable,
};
pub use broadcast::{BroadcastState, MayWrite};
pub use descriptor::{StateDescriptor, StateKind};
pub use error::StateError;
pub use keyed::{
    AggregatingState, Aggregation, FoundKey, Gathered, KeyWalk, KeyedContext, KeyedState,
    KeysOfState, ListElements, ListState, MapState, ReducingState, ValueState,
};
pub use lsm::{
    AdoptedRun, Answer, CarriedRun, DUE, LayeredTable, Overflow, Pile, PileReader, PileSeek,
    PileUse, PileWriter, Piles, Pressure, Reading, Restoring, Which,
};
pub use migration::Migration;
pub use snapshot::{
    Adopts, ChannelPath, CutKind, DamagedDescriptor, InFlightFile, InFlightSection, OperatorPart,
    OperatorSnapshot, Redistribution, Row, RowSink, RunHandle, Snapshot, SnapshotEffort, StateSize,
    StateVisitor, TaskSnapshot,
};
pub use table::{
    KeyedTable, Namespace, OpenEntry, OverflowRows, Scan, ScanCursor, ScanEntry, SweepEntry, Swept,
    WINDOW,
};
pub use timer::{LayeredTimers, MakePiles, Timer, TimerCursor, TimerQueue};
pub use ttl::{StateTtl, TtlUpdate, TtlVisibility};
