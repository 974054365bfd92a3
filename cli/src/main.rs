//! The binary: starts programs, shows their plans, stops running jobs, looks at checkpoints, tells what a host
//! offers.
//!
//! One command is one file under [`command`]; composition and exit codes are here. Lives on one
//! thread. Invariant: exit code 0 only if the command did what it was asked to; 2 for arguments that
//! are not understood.
#![forbid(unsafe_code)]

mod command;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs programs of the Thalweg stream engine.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(command::run::Run),
    Info(command::info::Info),
    Doctor(command::doctor::Doctor),
    Config(command::config::Config),
    List(command::list::List),
    Savepoint(command::savepoint::Savepoint),
    Stop(command::stop::Stop),
    Cancel(command::cancel::Cancel),
    Checkpoint(command::checkpoint::Checkpoint),
}

fn main() -> ExitCode {
    thalweg::log_to_stderr();
    let outcome = match Arguments::parse().command {
        Command::Run(run) => run.execute(),
        Command::Info(info) => info.execute(),
        Command::Doctor(doctor) => doctor.execute(),
        Command::Config(config) => config.execute(),
        Command::List(list) => list.execute(),
        Command::Savepoint(savepoint) => savepoint.execute(),
        Command::Stop(stop) => stop.execute(),
        Command::Cancel(cancel) => cancel.execute(),
        Command::Checkpoint(checkpoint) => checkpoint.execute(),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => thalweg::report(Err::<(), _>(failure)),
    }
}
