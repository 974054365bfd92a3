//! Counting: the four kinds of metric, owned by one shard and copied out on request.
//!
//! | room | what it is |
//! |---|---|
//! | [`counter`] | how often |
//! | [`gauge`] | how much now |
//! | [`meter`] | how fast |
//! | [`histogram`] | how it is spread |
//! | [`scope`] | names and labels |
//! | [`registry`] | a shard's list, copied out as plain values |
//! | [`vocabulary`] | all metrics of the engine, with unit and meaning |
//! | [`reference`](mod@reference) | the page that lists them |
//! | [`group`] | metrics of user functions |
//!
//! Metrics are `Rc` handles over cells: counting is one addition to memory nobody else touches, and a
//! metric cannot leave its thread. Only [`registry::MetricSnapshot`]s travel. Invariant: no atomic, no
//! lock, no allocation in counting.

pub mod counter;
pub mod gauge;
pub mod group;
pub mod histogram;
pub mod meter;
pub mod reference;
pub mod registry;
pub mod scope;
pub mod vocabulary;

pub use counter::Counter;
pub use gauge::{Gauge, GaugeNumber};
pub use group::MetricGroup;
pub use histogram::{Histogram, HistogramSnapshot};
pub use meter::Meter;
pub use reference::reference_markdown;
pub use registry::{Described, MetricError, MetricSnapshot, MetricValue, Registry};
pub use scope::Scope;
pub use vocabulary::Definition;
