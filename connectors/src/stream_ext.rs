//! The sources and sinks as methods of environments and streams.
//!
//! Extension traits, because floors below know no connector. Entered by programs, on their thread; only
//! grows the graph.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_dataflow::stream::{SinkHandle, SourcePipe};
use thalweg_dataflow::{DataStream, Environment, Pipe};
use thalweg_memory::record::{Item, Record, Str};

use crate::collect::{Collect, Collected};
use crate::collection::Collection;
use crate::discard::{Discard, ForEach};
use crate::format::{Debugged, Formatted};
use crate::generator::{Generator, Plain};
use crate::monitor::{DirectoryMonitor, FileProcessing};
use crate::print::Print;
use crate::sequence::Sequence;
use crate::show::Show;
use crate::socket::{SocketSink, SocketText};
use crate::text::{TextFile, TextFiles, TextSplit};

/// A stream straight from a source.
pub type SourceStream<S> = DataStream<<S as thalweg_dataflow::Source>::Item, SourcePipe<S>>;

/// Sources, as methods of [`Environment`]. Those with more to say about are given to
/// [`Environment::source`] as values, such as `Generator::new(..).rate(..)`.
pub trait Sources {
    /// A stream of these values, in order, in one subtask.
    #[allow(
        clippy::wrong_self_convention,
        reason = "the stream is from the collection, by the environment"
    )]
    fn from_collection<T: Record + Clone + Sync>(
        &self,
        items: impl IntoIterator<Item = T>,
    ) -> DataStream<T, SourcePipe<Collection<T>>>;

    /// A stream of the numbers of the range, both ends included; in parallel.
    fn sequence(&self, range: RangeInclusive<u64>) -> SourceStream<Sequence>;

    /// A stream of `make(i)` for every `i` below `count` (without end: `None`); in parallel.
    fn generate<T, F>(
        &self,
        count: impl Into<Option<u64>>,
        make: F,
    ) -> DataStream<T, SourcePipe<Generator<Plain<T, F>>>>
    where
        T: Record,
        F: Fn(u64) -> T + Clone + Send + 'static;

    /// A stream of the lines of a text file, or of all in a directory; in parallel.
    fn read_text(&self, path: impl AsRef<Path>) -> SourceStream<TextFiles>;

    /// A stream of the lines of the text files in directories, which are looked at once, or again and
    /// again: see [`DirectoryMonitor`].
    ///
    /// ```
    /// use thalweg_connectors::{FileProcessing, Sinks, Sources, TextFiles};
    /// # use thalweg_dataflow::{Environment, Executor, Job, JobError, JobResult};
    /// # struct Nowhere;
    /// # impl Executor for Nowhere {
    /// #     fn execute(&self, _: Job) -> Result<JobResult, JobError> {
    /// #         Err(JobError::PlanOnly)
    /// #     }
    /// # }
    ///
    /// # fn main() -> Result<(), JobError> {
    /// # let configuration = thalweg_core::config::Configuration::new();
    /// # let environment = Environment::with_executor(std::sync::Arc::new(Nowhere), configuration);
    /// let interval = std::time::Duration::from_secs(1);
    /// let logs = TextFiles::new("logs").include("*.log").recursive();
    /// let lines = environment.monitor_text(logs, FileProcessing::Continuously { interval });
    /// lines.print();
    /// let plan = environment.plan("logs")?;
    /// assert_eq!(plan.vertices[0].parallelism, 1, "one task looks at the directories");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// One task lists the directories; the files are read in parallel, each by one subtask and in order.
    /// What is appended to a file is read from where the file was left, by whole lines: a last line
    /// without a newline waits for it, or for a minute in which the file does not change. A file that was
    /// renamed, as logs are when they are rotated, goes on under its new name, as long as it stays in its
    /// directory. Packed files are read whole, one look after they have stopped growing.
    ///
    /// A file is known by its inode and when that was born, not by its name: under two names it is read
    /// once. One that was replaced by
    /// another of its name, or cut off, fails the job, or is read again or passed over: see
    /// [`TextFiles::on_change`]. A change that leaves the length of a file as it was is not noticed.
    ///
    /// Watermarks are made behind the readers, not at the source.
    fn monitor_text(
        &self,
        files: TextFiles,
        processing: FileProcessing,
    ) -> DataStream<Str, impl Pipe<Out = Str>> {
        self.read_found(DirectoryMonitor::new(files.clone(), processing), files)
    }

    /// As [`Sources::monitor_text`], with a monitor that was set up by hand.
    fn read_found(
        &self,
        monitor: DirectoryMonitor,
        files: TextFiles,
    ) -> DataStream<Str, impl Pipe<Out = Str>>;

    /// A stream of the lines a TCP server at `host:port` sends, until it closes the connection; see
    /// [`SocketText`].
    fn socket_text(&self, peer: impl Into<String>) -> SourceStream<SocketText>;
}

impl Sources for Environment {
    fn from_collection<T: Record + Clone + Sync>(
        &self,
        items: impl IntoIterator<Item = T>,
    ) -> DataStream<T, SourcePipe<Collection<T>>> {
        self.source(Collection::new(items))
    }

    fn sequence(&self, range: RangeInclusive<u64>) -> SourceStream<Sequence> {
        self.source(Sequence::new(range))
    }

    fn generate<T, F>(
        &self,
        count: impl Into<Option<u64>>,
        make: F,
    ) -> DataStream<T, SourcePipe<Generator<Plain<T, F>>>>
    where
        T: Record,
        F: Fn(u64) -> T + Clone + Send + 'static,
    {
        self.source(Generator::new(count, make))
    }

    fn read_text(&self, path: impl AsRef<Path>) -> SourceStream<TextFiles> {
        self.source(TextFiles::new(path))
    }

    fn read_found(
        &self,
        monitor: DirectoryMonitor,
        files: TextFiles,
    ) -> DataStream<Str, impl Pipe<Out = Str>> {
        let found = self.source(monitor);
        let dealt = found.partition_custom(|split: &TextSplit, subtasks| split.reader(subtasks));
        dealt.read_splits(files)
    }

    fn socket_text(&self, peer: impl Into<String>) -> SourceStream<SocketText> {
        self.source(SocketText::new(peer))
    }
}

/// Sinks, as methods of [`DataStream`]. Those with more to say about are given to
/// [`DataStream::sink`] as values, such as `TextFile::new(..).overwrite()`.
pub trait Sinks<T: Item>: Sized {
    /// Prints every record to standard output, as [`Show`] says.
    fn print(self) -> SinkHandle
    where
        for<'a> T::Of<'a>: Show;

    /// Prints every record to standard output, as [`Debug`] says.
    fn print_debug(self) -> SinkHandle
    where
        for<'a> T::Of<'a>: Debug;

    /// Prints every record to standard output, as the function says.
    fn print_with<F>(self, format: F) -> SinkHandle
    where
        F: for<'a, 'b> Fn(&'b T::Of<'a>, &mut String) + Clone + Send + 'static;

    /// Gathers `keep(record)` of every record for the program.
    fn collect_with<U, F>(self, keep: F) -> Collected<U>
    where
        U: Send + 'static,
        F: for<'a> Fn(T::Of<'a>) -> U + Clone + Send + 'static;

    /// Drops every record.
    fn discard(self) -> SinkHandle;

    /// Calls the function with every record.
    fn for_each<F>(self, call: F) -> SinkHandle
    where
        F: for<'a> FnMut(T::Of<'a>) + Clone + Send + 'static;

    /// Writes every record on a line of a text file, as [`Show`] says; see [`TextFile`].
    fn write_text(self, path: impl Into<PathBuf>) -> SinkHandle
    where
        for<'a> T::Of<'a>: Show;

    /// Writes every record on a line of a text file, as the function says.
    fn write_text_with<F>(self, path: impl Into<PathBuf>, format: F) -> SinkHandle
    where
        F: for<'a, 'b> Fn(&'b T::Of<'a>, &mut String) + Clone + Send + 'static;

    /// Sends every record as a line to a TCP server at `host:port`, as [`Show`] says; see [`SocketSink`].
    fn write_socket(self, peer: impl Into<Arc<str>>) -> SinkHandle
    where
        for<'a> T::Of<'a>: Show;
}

impl<T: Item, P: Pipe<Out = T>> Sinks<T> for DataStream<T, P> {
    fn print(self) -> SinkHandle
    where
        for<'a> T::Of<'a>: Show,
    {
        self.sink(Print::new())
    }

    fn print_debug(self) -> SinkHandle
    where
        for<'a> T::Of<'a>: Debug,
    {
        self.sink(Print::new().format(Debugged))
    }

    fn print_with<F>(self, format: F) -> SinkHandle
    where
        F: for<'a, 'b> Fn(&'b T::Of<'a>, &mut String) + Clone + Send + 'static,
    {
        self.sink(Print::new().format(Formatted(format)))
    }

    fn collect_with<U, F>(self, keep: F) -> Collected<U>
    where
        U: Send + 'static,
        F: for<'a> Fn(T::Of<'a>) -> U + Clone + Send + 'static,
    {
        let (sink, collected) = Collect::with(keep);
        self.sink(sink);
        collected
    }

    fn discard(self) -> SinkHandle {
        self.sink(Discard)
    }

    fn for_each<F>(self, call: F) -> SinkHandle
    where
        F: for<'a> FnMut(T::Of<'a>) + Clone + Send + 'static,
    {
        self.sink(ForEach(call))
    }

    fn write_text(self, path: impl Into<PathBuf>) -> SinkHandle
    where
        for<'a> T::Of<'a>: Show,
    {
        self.sink(TextFile::new(path))
    }

    fn write_text_with<F>(self, path: impl Into<PathBuf>, format: F) -> SinkHandle
    where
        F: for<'a, 'b> Fn(&'b T::Of<'a>, &mut String) + Clone + Send + 'static,
    {
        self.sink(TextFile::new(path).format(Formatted(format)))
    }

    fn write_socket(self, peer: impl Into<Arc<str>>) -> SinkHandle
    where
        for<'a> T::Of<'a>: Show,
    {
        self.sink(SocketSink::new(peer))
    }
}

/// `collect` for streams of owned records.
pub trait Collects<T> {
    /// Gathers every record for the program.
    fn collect(self) -> Collected<T>;
}

impl<T: Record, P: Pipe<Out = T>> Collects<T> for DataStream<T, P> {
    fn collect(self) -> Collected<T> {
        let (sink, collected) = Collect::records();
        self.sink(sink);
        collected
    }
}

/// `collect` for streams of borrowed text.
pub trait CollectsText {
    /// Gathers every text for the program.
    fn collect(self) -> Collected<String>;
}

impl<P: Pipe<Out = Str>> CollectsText for DataStream<Str, P> {
    fn collect(self) -> Collected<String> {
        self.collect_with(str::to_owned)
    }
}
