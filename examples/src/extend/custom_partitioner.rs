//! How do I choose myself which subtask gets a record?
//!
//! `partition_custom` is given each record and the number of subtasks. Here large files go to subtask
//! 0, which has nothing else to do, and small ones to the others in turn.
//!
//! ```text
//! cargo run --bin custom_partitioner
//! ```

use std::process::ExitCode;

use thalweg::prelude::*;

/// Kilobytes from which a file is a large one.
const LARGE: u64 = 1000;

fn main() -> ExitCode {
    thalweg::report(run())
}

fn run() -> Result<(), thalweg::Failure> {
    let environment = thalweg::environment()?;
    environment.set_parallelism(3);
    let files = [12, 4000, 7, 1500, 30, 999, 2, 1000].map(|kilobytes: u64| kilobytes);
    let mut next = 0;
    let placed = environment
        .from_collection(files)
        .partition_custom(move |kilobytes, subtasks| {
            if *kilobytes >= LARGE || subtasks == 1 {
                return 0;
            }
            next += 1;
            1 + next % (subtasks - 1)
        })
        .process(|open| {
            let subtask = open.subtask().index;
            move |kilobytes: u64, _context, out: &mut Collector<(u32, u64)>| {
                out.emit((subtask, kilobytes));
                Ok(())
            }
        });
    let placed = placed.name("place").collect();
    environment.execute("custom partitioner")?;
    let mut placed = placed.take();
    placed.sort_unstable();
    print(&placed);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example shows its result")]
fn print(placed: &[(u32, u64)]) {
    for (subtask, kilobytes) in placed {
        println!("subtask {subtask} took a file of {kilobytes} kB");
    }
}
