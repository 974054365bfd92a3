//! The ends of the job: files or rows, by two phases both, with points at which the process may end itself.
//!
//! A [`End`] is the sink there would be without it: all it adds is to come to a [`SinkPoint`] between what the sink is
//! asked and what is told of it. Writers live on the shards of the job's process, committers on its control thread.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_connectors::FileSink;
#[cfg(feature = "postgres")]
use thalweg_connectors::postgres::{PostgresSink, Row};
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{
    Committable, Committer, Epoch, Prepared, Sink, SinkError, SinkStatus, SinkWriter,
};
use thalweg_dataflow::task::{AsyncRuntime, InputStatus, SubtaskInfo};

use super::crash::Crash;
use crate::oracle::point::{Point, SinkPoint};

#[cfg(feature = "postgres")]
type Fill = fn(&String, &mut Row<'_>);
type Files = FileSink<String>;
type FileWriter = <Files as Sink<String>>::Writer;
#[cfg(feature = "postgres")]
type Rows = PostgresSink<String, Fill>;
#[cfg(feature = "postgres")]
type RowWriter = <Rows as Sink<String>>::Writer;

#[derive(Clone)]
enum Kind {
    Files(Files),
    #[cfg(feature = "postgres")]
    Rows(Rows),
}

/// Calls the same of whichever sink it is.
macro_rules! whichever {
    ($kind:ident, $of:expr, $inner:ident => $call:expr) => {
        match $of {
            $kind::Files($inner) => $call,
            #[cfg(feature = "postgres")]
            $kind::Rows($inner) => $call,
        }
    };
}

/// One end of the job.
#[derive(Clone)]
pub(super) struct End {
    kind: Kind,
    crash: Option<Arc<Crash>>,
}

impl End {
    /// Lines in the files of a directory.
    pub(super) fn files(sink: Files, crash: Option<Arc<Crash>>) -> End {
        let kind = Kind::Files(sink);
        End { kind, crash }
    }

    /// Lines in the rows of a table, under the name of the table.
    #[cfg(feature = "postgres")]
    pub(super) fn rows(
        (address, exclusive): (&str, bool),
        table: &str,
        crash: Option<Arc<Crash>>,
    ) -> End {
        let fill: Fill = |line, row| {
            row.put(line);
        };
        let sink = PostgresSink::new(address, table, &["line"], fill).named(table);
        let kind = Kind::Rows(match exclusive {
            true => sink.exclusive(),
            false => sink,
        });
        End { kind, crash }
    }

    fn writer(&self, kind: WriterKind) -> EndWriter {
        let crash = self.crash.clone();
        EndWriter { kind, crash }
    }
}

fn passes(crash: Option<&Arc<Crash>>, point: SinkPoint) {
    if let Some(crash) = crash {
        crash.passes(Point::Sink(point));
    }
}

impl Sink<String> for End {
    type Writer = EndWriter;

    fn name(&self) -> String {
        whichever!(Kind, &self.kind, sink => sink.name())
    }

    fn prepare(&self, parallelism: u32) -> Result<(), SinkError> {
        whichever!(Kind, &self.kind, sink => sink.prepare(parallelism))
    }

    fn open(&self, subtask: &SubtaskInfo) -> Result<EndWriter, SinkError> {
        let writer = match &self.kind {
            Kind::Files(sink) => WriterKind::Files(sink.open(subtask)?),
            #[cfg(feature = "postgres")]
            Kind::Rows(sink) => WriterKind::Rows(sink.open(subtask)?),
        };
        Ok(self.writer(writer))
    }

    fn restore(&self, subtask: &SubtaskInfo, state: Vec<Vec<u8>>) -> Result<EndWriter, SinkError> {
        let writer = match &self.kind {
            Kind::Files(sink) => WriterKind::Files(sink.restore(subtask, state)?),
            #[cfg(feature = "postgres")]
            Kind::Rows(sink) => WriterKind::Rows(sink.restore(subtask, state)?),
        };
        Ok(self.writer(writer))
    }

    fn committer(&self) -> Option<Box<dyn Committer>> {
        let inner = whichever!(Kind, &self.kind, sink => sink.committer())?;
        Some(match &self.crash {
            Some(crash) => Box::new(EndCommitter {
                inner,
                crash: Arc::clone(crash),
            }),
            None => inner,
        })
    }
}

enum WriterKind {
    Files(FileWriter),
    #[cfg(feature = "postgres")]
    Rows(RowWriter),
}

/// The writer of one subtask.
pub(super) struct EndWriter {
    kind: WriterKind,
    crash: Option<Arc<Crash>>,
}

impl SinkWriter<String> for EndWriter {
    fn attach(&mut self, runtime: Rc<dyn AsyncRuntime>) {
        whichever!(WriterKind, &mut self.kind, writer => {
            SinkWriter::<String>::attach(writer, runtime);
        });
    }

    fn write(&mut self, line: String, at: Timestamp) -> Result<(), SinkError> {
        whichever!(WriterKind, &mut self.kind, writer => writer.write(line, at))
    }

    fn ready(&self) -> bool {
        whichever!(WriterKind, &self.kind, writer => SinkWriter::<String>::ready(writer))
    }

    fn end_turn(
        &mut self,
        context: &mut TurnContext<'_>,
        input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        whichever!(WriterKind, &mut self.kind, writer => {
            SinkWriter::<String>::end_turn(writer, context, input)
        })
    }

    fn barrier(&mut self, checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        passes(self.crash.as_ref(), SinkPoint::BeforePrepare);
        whichever!(WriterKind, &mut self.kind, writer => {
            SinkWriter::<String>::barrier(writer, checkpoint)
        })
    }

    fn prepared(&mut self) -> Option<Prepared> {
        let prepared = whichever!(WriterKind, &mut self.kind, writer => {
            SinkWriter::<String>::prepared(writer)
        })?;
        let point = match prepared.checkpoint {
            Some(_) => SinkPoint::AfterPrepare,
            None => SinkPoint::AfterLastPrepare,
        };
        passes(self.crash.as_ref(), point);
        Some(prepared)
    }
}

/// The committer of a job that ends itself at some point.
struct EndCommitter {
    inner: Box<dyn Committer>,
    crash: Arc<Crash>,
}

impl EndCommitter {
    fn passes(&self, point: SinkPoint) {
        self.crash.passes(Point::Sink(point));
    }
}

impl Committer for EndCommitter {
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        // Who ends between them is asked for them one after the other; others as they come.
        let at_once = match self.crash.is_at(Point::Sink(SinkPoint::BetweenCommits)) {
            true => 1,
            false => prepared.len().max(1),
        };
        for (nth, some) in prepared.chunks(at_once).enumerate() {
            if nth > 0 {
                self.passes(SinkPoint::BetweenCommits);
            }
            self.inner.commit(some)?;
        }
        Ok(())
    }

    fn abort(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        self.passes(SinkPoint::BeforeAbort);
        let aborted = self.inner.abort(prepared);
        self.passes(SinkPoint::AfterAbort);
        aborted
    }

    fn rolls_back(&self) -> bool {
        self.inner.rolls_back()
    }

    fn roll_back(
        &mut self,
        prepared: &[Committable],
        subtasks: &BTreeSet<u32>,
        after: CheckpointId,
    ) -> Result<(), SinkError> {
        self.inner.roll_back(prepared, subtasks, after)
    }
}
