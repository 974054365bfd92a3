//! The program the tests of the binary run: does what its first argument says, mostly badly.
//!
//! Entered by `tests/command.rs`, started as a process of its own. `forbid PROGRAM ARGS…` becomes the
//! program under a filter that denies io_uring.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use thalweg::Failure;
use thalweg::connectors::Generator;
use thalweg::prelude::*;
use thalweg_core::seam::seccomp::forbid_io_uring_for_tests;

fn main() -> ExitCode {
    thalweg::report(obey())
}

fn obey() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let Some(order) = arguments.next() else {
        return Err("say what to do".into());
    };
    match order.as_str() {
        "count" => count(),
        "distinct" => distinct(),
        "panic" => panic_in_a_function(),
        "refuse" => refuse_in_a_function(),
        "read" => read(&arguments.next().ok_or("name a file")?),
        "write" => write(arguments),
        "endless" => endless(),
        "tally" => tally(None),
        "relapse" => tally(Some(3_000)),
        "stuck" => stuck(),
        "forbid" => {
            let program = arguments.next().ok_or("name a program")?;
            forbid_io_uring_for_tests()?;
            Err(Command::new(program).args(arguments).exec().into())
        }
        other => Err(format!("no order is called {other}").into()),
    }
}

/// Counts a thousand numbers by their last digit.
fn count() -> Result<(), Failure> {
    let environment = thalweg::environment()?;
    let numbers = environment.sequence(0..=999);
    let counts = numbers.key_by(|n| n % 10).count().name("digits");
    counts.map(|(digit, count)| (digit, count)).print();
    environment.execute("count")?;
    Ok(())
}

/// Keeps state for a million keys.
fn distinct() -> Result<(), Failure> {
    let environment = thalweg::environment()?;
    let numbers = environment.sequence(0..=999_999);
    numbers.key_by(|n| *n).count().discard();
    environment.execute("distinct")?;
    Ok(())
}

fn panic_in_a_function() -> Result<(), Failure> {
    let environment = thalweg::environment()?;
    let numbers = environment.sequence(0..=999);
    let halves = numbers.map(|n: u64| {
        assert!(n != 500, "five hundred is too much");
        n / 2
    });
    halves.name("halve").discard();
    let result = environment.execute("panic");
    // The process lives on: a second job runs.
    environment.sequence(0..=9).discard();
    environment.execute("after the panic")?;
    result?;
    Ok(())
}

fn refuse_in_a_function() -> Result<(), Failure> {
    let environment = thalweg::environment()?;
    let numbers = environment.sequence(0..=999);
    let checked = numbers.process(|_| {
        |n: u64, _: &ProcessContext, out: &mut Collector<u64>| {
            if n == 500 {
                return Err(FunctionError::new("no price for 500: add it to the list"));
            }
            out.emit(n);
            Ok(())
        }
    });
    checked.name("price").discard();
    environment.execute("refuse")?;
    Ok(())
}

fn read(path: &str) -> Result<(), Failure> {
    let environment = thalweg::environment()?;
    environment.read_text(path).print();
    environment.execute("read")?;
    Ok(())
}

/// Writes the same million numbers, some megabytes, to each of these places.
fn write(paths: impl Iterator<Item = String>) -> Result<(), Failure> {
    let environment = thalweg::environment()?;
    let numbers = environment.sequence(0..=999_999).share();
    for path in paths {
        numbers.stream().write_text(path);
    }
    environment.execute("write")?;
    Ok(())
}

/// Goes on until it is stopped; prints one line when records flow.
fn endless() -> Result<(), Failure> {
    let environment = thalweg::environment()?;
    let ticks = environment.source(Generator::new(None, |n| n).rate(10_000.0));
    let shared = ticks
        .key_by(|n| n % 7)
        .count()
        .map(|(key, count)| (key, count));
    shared
        .filter(|(key, count)| *key == 0 && *count == 10)
        .print();
    environment.execute("endless")?;
    Ok(())
}

/// Goes on until it is stopped, or until the number `poison`; prints how often one key of seven was there, every
/// hundred times.
fn tally(poison: Option<u64>) -> Result<(), Failure> {
    let environment = thalweg::environment()?;
    let ticks = environment
        .source(Generator::new(None, |n| n).rate(10_000.0))
        .uid("ticks");
    let ticks = ticks.map(move |n: u64| {
        assert!(Some(n) != poison, "{n} is poison");
        n
    });
    let counts = ticks.key_by(|n| n % 7).count().uid("counts");
    counts
        .filter(|(key, count)| *key == 0 && count % 100 == 0)
        .map(|(_, count)| count)
        .print();
    environment.execute("tally")?;
    Ok(())
}

/// A function that does not return.
fn stuck() -> Result<(), Failure> {
    let environment = thalweg::environment()?;
    let stuck = environment.sequence(0..=9).map(|n: u64| {
        // Standard output is closed to nobody: one line says that the function was entered.
        let line = std::io::Write::write_all(&mut std::io::stdout(), b"entered\n");
        while line.is_ok() {
            std::thread::yield_now();
        }
        n
    });
    stuck.name("ponder").discard();
    environment.execute("stuck")?;
    Ok(())
}
