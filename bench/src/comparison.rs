//! The engine beside the work by hand: whether they did the same, and how far apart they are.
//!
//! Entered by the binary and by the tests. Invariant: there is no [`Comparison`] of two runs that did
//! not do the same work, so no ratio is ever printed of such a pair. Holds no state; any thread.

use serde::Serialize;
use thalweg::prelude::RuntimeMode;
use thiserror::Error;

use crate::engine;
use crate::limit;
use crate::report::Report;

/// A run, the same work by hand, and the ratio of their rates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The engine's run; its fields stand beside the other two.
    #[serde(flatten)]
    pub run: Report,
    /// The same work by hand.
    pub limit: Report,
    /// Records per second of the engine for each by hand.
    pub ratio: f64,
}

/// Two runs of the same workload that did not do the same.
#[derive(Clone, Debug, Error)]
#[error(
    "two runs of {} differ: {} has {}, {} has {}; no figure of either is to be believed \
     (text for wc must be UTF-8 without carriage returns)",
    first.workload, first.engine, of(first), second.engine, of(second)
)]
pub struct Disagreement {
    first: Box<Report>,
    second: Box<Report>,
}

impl Disagreement {
    /// The two that differ.
    #[must_use]
    pub fn new(first: Report, second: Report) -> Self {
        Self {
            first: Box::new(first),
            second: Box::new(second),
        }
    }
}

fn of(report: &Report) -> String {
    format!(
        "{} records, {} rows, checksum {}",
        report.records, report.rows_out, report.checksum
    )
}

/// The work by hand that is to be compared with `work`, if there is one.
#[must_use]
pub fn by_hand(work: &engine::Work) -> Option<limit::Work> {
    Some(match work {
        engine::Work::Gen { records } => limit::Work::Gen { records: *records },
        engine::Work::Sum { records } => limit::Work::Sum { records: *records },
        engine::Work::Wc { inputs, .. } => limit::Work::Wc {
            inputs: inputs.clone(),
        },
        engine::Work::Nexmark {
            query,
            events,
            per_ms,
        } => limit::Work::Nexmark {
            query: *query,
            events: *events,
            per_ms: *per_ms,
        },
        engine::Work::Win { records } => limit::Work::Win { records: *records },
        engine::Work::Slide { .. } => return None,
    })
}

impl Comparison {
    /// Compares a run of `work` with the same by hand.
    ///
    /// By hand there is a row per word; of a batch, which has one per distinct word, the words are
    /// compared and not the rows.
    ///
    /// # Errors
    /// If they did not do the same.
    pub fn of(work: &engine::Work, run: Report, limit: Report) -> Result<Self, Disagreement> {
        let batch = match work {
            engine::Work::Wc { mode, .. } => *mode != RuntimeMode::Streaming,
            _ => false,
        };
        let same = run.checksum == limit.checksum
            && run.records == limit.records
            && (batch || run.rows_out == limit.rows_out);
        if !same {
            return Err(Disagreement::new(run, limit));
        }
        let ratio = run.records_per_s / limit.records_per_s;
        Ok(Self { run, limit, ratio })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Measured;
    use crate::workload::Totals;

    fn report(engine: &'static str, rows_out: u64, checksum: u64, seconds: f64) -> Report {
        let totals = Totals {
            records: 100,
            rows_out,
            checksum,
        };
        let cpu_seconds = seconds;
        let measured = Measured {
            seconds,
            cpu_seconds,
        };
        Report::new(engine, "wc", 2, totals, measured)
    }

    fn wc(mode: RuntimeMode) -> engine::Work {
        let inputs = Vec::new();
        engine::Work::Wc { inputs, mode }
    }

    #[test]
    fn the_engines_fields_stand_beside_the_limit() {
        let compared = Comparison::of(
            &wc(RuntimeMode::Streaming),
            report("thalweg", 100, 7, 4.0),
            report("limit", 100, 7, 1.0),
        );
        let json = serde_json::to_value(compared.unwrap()).unwrap();
        assert_eq!(json["engine"], "thalweg");
        assert_eq!(json["limit"]["engine"], "limit");
        assert_eq!(json["limit"]["rows_out"], 100);
        assert_eq!(json["ratio"], 0.25);
    }

    #[test]
    fn who_did_other_work_is_not_compared() {
        let streaming = wc(RuntimeMode::Streaming);
        for (rows, checksum) in [(100, 8), (99, 7)] {
            let refused = Comparison::of(
                &streaming,
                report("thalweg", rows, checksum, 1.0),
                report("limit", 100, 7, 1.0),
            );
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("100 rows"), "{message}");
            assert!(message.contains("0000000000000007"), "{message}");
        }
    }

    #[test]
    fn a_batch_has_fewer_rows() {
        let (run, limit) = (report("thalweg", 30, 7, 1.0), report("limit", 100, 7, 1.0));
        assert!(Comparison::of(&wc(RuntimeMode::Batch), run.clone(), limit.clone()).is_ok());
        assert!(Comparison::of(&wc(RuntimeMode::Streaming), run, limit).is_err());
    }
}
