//! `thalweg config`: the reference of all settings.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use thalweg::Failure;
use thalweg::config::{options, reference_markdown};

use super::print;

/// List all settings with their defaults
#[derive(Debug, Args)]
pub(crate) struct Config {
    /// How to print them
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// The reference page of the documentation
    Markdown,
    /// For programs
    Json,
}

impl Config {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        match self.format {
            Format::Text => print(&text())?,
            Format::Markdown => print(&reference_markdown())?,
            Format::Json => print(&json())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text() -> String {
    let mut text = String::new();
    for option in options::ALL {
        let default = match option.default_text() {
            empty if empty.is_empty() => "nothing".to_owned(),
            default => default,
        };
        text.push_str(&format!("{} = {default}\n", option.key()));
        if let Some(bounds) = option.bounds() {
            text.push_str(&format!("    ({bounds})\n"));
        }
        text.push_str(&format!("    {}\n\n", option.doc()));
    }
    text.push_str("Set them with -D key=value, THALWEG__KEY__WITH__DOTS=value, or in the file THALWEG_CONFIG names.\n");
    text
}

fn json() -> String {
    let all = options::ALL.iter().map(|option| {
        serde_json::json!({
            "key": option.key(),
            "default": option.default_text(),
            // Escaped for the cells of a Markdown table.
            "type": option.kind().replace("\\|", "|"),
            "expected": option.bounds(),
            "doc": option.doc(),
        })
    });
    format!("{:#}\n", serde_json::Value::from_iter(all))
}
