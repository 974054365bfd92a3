//! How do I write a source of my own, with splits and a position to go on from?
//!
//! A source cuts its input into splits, which are dealt out over the subtasks; a reader emits while it
//! is asked to and never waits. The position is part of the split: a reader opened over the splits of
//! a `snapshot` goes on with exactly the rest.
//!
//! ```text
//! cargo run --bin custom_source
//! ```

use std::process::ExitCode;

use thalweg::prelude::*;
use thalweg::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus, SubtaskInfo,
    TurnContext,
};

/// The square numbers below the square of a bound, in splits of ten.
#[derive(Clone)]
struct Squares(u64);

/// The numbers from `next` to `end`, of which those before `next` were read.
#[record]
#[derive(Clone)]
struct Range {
    next: u64,
    end: u64,
}

impl Source for Squares {
    type Item = u64;
    type Split = Range;
    type Reader = Reader;

    fn name(&self) -> String {
        "squares".to_owned()
    }
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }
    fn splits(&self, _parallelism: u32) -> Result<Vec<Range>, SourceError> {
        let starts = (0..self.0).step_by(10);
        Ok(Vec::from_iter(starts.map(|next| Range {
            next,
            end: self.0.min(next + 10),
        })))
    }
    fn open(&self, splits: Vec<Range>, _subtask: &SubtaskInfo) -> Result<Reader, SourceError> {
        Ok(Reader(splits))
    }
}

struct Reader(Vec<Range>);

impl SourceReader for Reader {
    type Item = u64;
    type Split = Range;

    fn poll<O: SourceOutput<u64>>(
        &mut self,
        out: &mut O,
        _context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        while let Some(range) = self.0.first_mut() {
            while range.next < range.end {
                if !out.wanted() {
                    return Ok(SourceStatus::More);
                }
                out.emit(range.next * range.next, Timestamp::NONE);
                range.next += 1;
            }
            self.0.remove(0);
        }
        Ok(SourceStatus::Finished)
    }
    fn snapshot(&self) -> Vec<Range> {
        self.0.clone()
    }
}

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    environment.set_parallelism(2);
    let squares = environment.source(Squares(100));
    let digits = squares.key_by(|square| square % 10).count();
    let rows = digits.map(|(digit, count)| (digit, count)).collect();
    environment.set_runtime_mode(RuntimeMode::Batch);
    environment.execute("custom source")?;
    let mut rows = rows.take();
    rows.sort_unstable();
    print(&rows);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example shows its result")]
fn print(rows: &[(u64, u64)]) {
    for (digit, count) in rows {
        println!("{count} squares below 10000 end in {digit}");
    }
}
