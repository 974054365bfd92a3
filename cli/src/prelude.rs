//! What nearly every program names: `use thalweg::prelude::*;`.
//!
//! Only re-exports. A name is here if a program of twenty lines is likely to need it.

pub use thalweg_connectors::{Collected, Collects, CollectsText, Show, Sinks, Sources};
pub use thalweg_core::config::{ConfigError, Configuration, RuntimeMode};
pub use thalweg_core::event_time::Timestamp;
pub use thalweg_dataflow::executor::{JobClient, JobError, JobResult, JobStatus};
pub use thalweg_dataflow::function::{
    Accumulator, AggregatingState, Aggregation, BroadcastState, Collector, FunctionError,
    ListState, MapState, OpenContext, OutputTag, ProcessContext, ReducingState, StateDescriptor,
    StateTtl, SubtaskList, TtlUpdate, TtlVisibility, ValueState,
};
pub use thalweg_dataflow::operator::{
    BroadcastContext, BroadcastOpenContext, BroadcastProcessFunction, CoProcessFunction, Either,
    Iteration, JoinContext, KeyedBroadcastProcessFunction, KeyedProcessFunction, ProcessFunction,
};
pub use thalweg_dataflow::stream::{
    BroadcastStream, ConnectedStreams, DataStream, Environment, KeyedStream, Pipe, SharedStream,
    WindowedStream,
};
pub use thalweg_dataflow::time::{FiredTimer, TimeDomain, WatermarkStrategy};
pub use thalweg_dataflow::window::assigner::{
    CumulateWindows, DayWindows, GlobalWindows, SessionWindows, SlidingWindows, TumblingWindows,
};
pub use thalweg_dataflow::window::{
    TimeWindow, WindowAggregate, WindowContext, WindowElements, WindowOpenContext,
};
/// The attribute that makes a struct or enum a [`Record`].
pub use thalweg_memory::record::record;
pub use thalweg_memory::record::{Item, Key, KeyValue, Record, Str, View, Wire};
