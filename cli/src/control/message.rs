//! One question to a job and one answer, each a line of JSON.
//!
//! Invariant: what one side writes the other reads back; anything else is refused in words and harms nobody.
//! Plain data, lives on any thread.

use std::io::{self, BufRead as _, BufReader, Read, Write};

use serde_json::{Value, json};
use thalweg_core::ids::{CheckpointId, JobId};
use thalweg_dataflow::executor::TakenCheckpoint;

/// No line is longer, in bytes.
const LONGEST: u64 = 64 << 10;

/// What is asked of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What it is and how it stands.
    Describe,
    /// A checkpoint now.
    Checkpoint {
        /// Whether it is to hold the whole state.
        full: bool,
    },
    /// A savepoint below a directory; without one, where the job's settings say.
    Savepoint {
        /// The directory.
        directory: Option<String>,
    },
    /// A savepoint, and then its end.
    Stop {
        /// The directory.
        directory: Option<String>,
        /// Whether windows and timers fire first.
        drain: bool,
    },
    /// Its end, at once.
    Cancel,
}

impl Ask {
    /// As a line.
    pub(super) fn to_line(&self) -> String {
        let value = match self {
            Ask::Describe => json!({ "ask": "describe" }),
            Ask::Checkpoint { full } => json!({ "ask": "checkpoint", "full": full }),
            Ask::Savepoint { directory } => json!({ "ask": "savepoint", "directory": directory }),
            Ask::Stop { directory, drain } => {
                json!({ "ask": "stop", "directory": directory, "drain": drain })
            }
            Ask::Cancel => json!({ "ask": "cancel" }),
        };
        format!("{value}\n")
    }

    /// What a line asks.
    pub(super) fn parse(line: &str) -> Result<Ask, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let directory = || match &value["directory"] {
            Value::Null => Ok(None),
            Value::String(directory) => Ok(Some(directory.clone())),
            other => Err(format!("{other} is no directory")),
        };
        match value["ask"].as_str() {
            Some("describe") => Ok(Ask::Describe),
            Some("checkpoint") => Ok(Ask::Checkpoint {
                full: value["full"]
                    .as_bool()
                    .ok_or("whether it is to be full is not said")?,
            }),
            Some("savepoint") => Ok(Ask::Savepoint {
                directory: directory()?,
            }),
            Some("stop") => Ok(Ask::Stop {
                directory: directory()?,
                drain: value["drain"]
                    .as_bool()
                    .ok_or("whether to drain is not said")?,
            }),
            Some("cancel") => Ok(Ask::Cancel),
            _ => Err(
                "this process knows no such question: its engine is of another version".to_owned(),
            ),
        }
    }
}

/// What a job is and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its identity.
    pub job: JobId,
    /// How its user calls it.
    pub name: String,
    /// RUNNING, RESTARTING and so on.
    pub status: String,
    /// The process it runs in.
    pub process: u32,
    /// When it was started: ms since 1970.
    pub started_ms: i64,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Description(Description),
    /// A checkpoint.
    Checkpoint(TakenCheckpoint),
    /// The path of a savepoint.
    Savepoint(String),
    /// It will be done.
    Accepted,
    /// Why it is not done.
    Refused(String),
}

impl Answer {
    /// As a line.
    pub(super) fn to_line(&self) -> String {
        let value = match self {
            Answer::Description(job) => json!({
                "job": job.job.to_string(),
                "name": job.name,
                "status": job.status,
                "process": job.process,
                "started": job.started_ms,
            }),
            Answer::Checkpoint(taken) => json!({ "checkpoint": taken.id.0, "path": taken.path }),
            Answer::Savepoint(path) => json!({ "savepoint": path }),
            Answer::Accepted => json!({ "accepted": true }),
            Answer::Refused(reason) => json!({ "refused": reason }),
        };
        format!("{value}\n")
    }

    /// What a line answers.
    pub(super) fn parse(line: &str) -> Result<Answer, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        if let Some(reason) = text("refused") {
            return Ok(Answer::Refused(reason));
        }
        if let (Some(id), Some(path)) = (value["checkpoint"].as_u64(), text("path")) {
            let id = CheckpointId(id);
            return Ok(Answer::Checkpoint(TakenCheckpoint { id, path }));
        }
        if let Some(path) = text("savepoint") {
            return Ok(Answer::Savepoint(path));
        }
        if value["accepted"] == true {
            return Ok(Answer::Accepted);
        }
        let described = || {
            Some(Description {
                job: text("job")?.parse().ok()?,
                name: text("name")?,
                status: text("status")?,
                process: value["process"].as_u64()?.try_into().ok()?,
                started_ms: value["started"].as_i64()?,
            })
        };
        let described = described().map(Answer::Description);
        described.ok_or_else(|| format!("{line:?} is no answer of this engine"))
    }
}

/// Reads one line; an empty one where the other side has gone.
pub(super) fn read_line(from: impl Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(from.take(LONGEST)).read_line(&mut line)?;
    Ok(line)
}

/// Writes one line.
pub(super) fn write_line(mut to: impl Write, line: &str) -> io::Result<()> {
    to.write_all(line.as_bytes())?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks() -> Vec<Ask> {
        let directory = Some("/save \"points\"\n".to_owned());
        vec![
            Ask::Describe,
            Ask::Checkpoint { full: true },
            Ask::Checkpoint { full: false },
            Ask::Savepoint { directory: None },
            Ask::Stop {
                directory,
                drain: true,
            },
            Ask::Cancel,
        ]
    }

    fn answers() -> Vec<Answer> {
        let description = Description {
            job: JobId(0xAB),
            name: "counts".to_owned(),
            status: "RUNNING".to_owned(),
            process: 7,
            started_ms: 1_790_000_000_000,
        };
        vec![
            Answer::Description(description),
            Answer::Checkpoint(TakenCheckpoint {
                id: CheckpointId(12),
                path: "/c".to_owned(),
            }),
            Answer::Savepoint("/s".to_owned()),
            Answer::Accepted,
            Answer::Refused("no".to_owned()),
        ]
    }

    #[test]
    fn what_is_written_is_one_line_and_read_back() {
        for ask in asks() {
            let line = ask.to_line();
            assert_eq!(line.find('\n'), Some(line.len() - 1));
            assert_eq!(Ask::parse(&line), Ok(ask));
        }
        for answer in answers() {
            assert_eq!(Answer::parse(&answer.to_line()), Ok(answer));
        }
    }

    #[test]
    fn damage_is_refused_or_reads_as_something_else_and_never_panics() {
        let lines = asks().into_iter().map(|ask| ask.to_line());
        for line in lines.chain(answers().into_iter().map(|answer| answer.to_line())) {
            for at in 0..line.len() - 1 {
                assert!(Ask::parse(&line[..at]).is_err(), "{}", &line[..at]);
                assert!(Answer::parse(&line[..at]).is_err(), "{}", &line[..at]);
                for bit in 0..7 {
                    let mut bytes = line.clone().into_bytes();
                    bytes[at] ^= 1 << bit;
                    let text = String::from_utf8_lossy(&bytes);
                    let _ = (Ask::parse(&text), Answer::parse(&text));
                }
            }
        }
    }
}
