//! The typed values users chain. They only grow the graph.

mod connected_streams;
mod data_stream;
mod draft;
mod environment;
mod exchange;
mod keyed_stream;
mod pipe;
mod shared_stream;
mod sink_handle;
mod windowed_stream;

pub use connected_streams::{BroadcastStream, ConnectedStreams, KeyedBoth, Unkeyed};
pub use data_stream::DataStream;
pub(crate) use draft::Draft;
pub use environment::Environment;
pub use exchange::ExchangeInput;
pub use keyed_stream::{Exchanged, Grouping, KeyedInput, KeyedStream};
pub use pipe::{BoxedPipe, Pipe, SourcePipe};
pub use shared_stream::SharedStream;
pub use sink_handle::SinkHandle;
pub use thalweg_core::config::RuntimeMode;
pub use windowed_stream::{Everything, WindowedStream};
