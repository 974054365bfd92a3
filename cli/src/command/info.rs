//! `thalweg info`: shows a program's plan without running it.

use std::process::ExitCode;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use thalweg::Failure;
use thalweg::launch::PlanFormat;

use super::program::Program;

/// Show the plan of a program without running it
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// For people, for programs, or for Graphviz
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = format())]
    format: PlanFormat,
    #[command(flatten)]
    program: Program,
}

fn format() -> impl clap::builder::TypedValueParser<Value = PlanFormat> {
    let words = PlanFormat::ALL.map(|(_, word)| word);
    PossibleValuesParser::new(words).map(|word| {
        let chosen = PlanFormat::ALL.into_iter().find(|(_, name)| *name == word);
        chosen.map_or(PlanFormat::Text, |(format, _)| format)
    })
}

impl Info {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        match self.program.launch(Some(self.format))? {}
    }
}
