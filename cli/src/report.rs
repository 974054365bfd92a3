//! The last words of a program: what went wrong, where, how to mend it, and the exit code.
//!
//! Entered at the end of `main`. Invariant: whatever failed is told on standard error, and the exit
//! code is 0 only if the program did what it was asked to.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use thalweg_dataflow::executor::JobError;

/// Whatever may end a program before its time; every error converts into it by `?`.
pub type Failure = Box<dyn Error>;

/// The exit code after a failure.
pub(crate) const FAILED: u8 = 1;
/// The exit code where the job goes on in another process: whoever starts programs again should leave this one be.
pub(crate) const OVERTAKEN: u8 = 3;
/// The exit code where the job had finished before, so that nothing was run.
pub(crate) const HAD_FINISHED: u8 = 4;
/// The exit code where the job had been stopped with a savepoint, from which nobody asked to go on.
pub(crate) const HAD_STOPPED: u8 = 5;
/// The exit code after a cancellation: what shells say of a process ended by Ctrl-C.
pub(crate) const CANCELLED: u8 = 130;

/// Ends a program: prints what went wrong to standard error and answers the exit code.
///
/// 0 if all went well, and after the plan was printed instead of a run; 130 if the job was cancelled; 3 if another
/// process has taken the job over, so that this one is not to be started again; 4 if the job had finished before and 5 if
/// it had been stopped with a savepoint, and nothing was run; 1 for all else.
pub fn report<T, E: Into<Failure>>(result: Result<T, E>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let failure: Failure = error.into();
    let job = job_error(&*failure);
    if matches!(job, Some(JobError::PlanOnly)) {
        return ExitCode::SUCCESS;
    }
    // Nobody may be reading any more; the exit code tells it all the same.
    let _ = io::stderr()
        .lock()
        .write_all(describe(&*failure).as_bytes());
    match job {
        Some(JobError::Cancelled { .. }) => ExitCode::from(CANCELLED),
        Some(JobError::Overtaken { .. }) => ExitCode::from(OVERTAKEN),
        Some(JobError::Ended {
            savepoint: None, ..
        }) => ExitCode::from(HAD_FINISHED),
        Some(JobError::Ended { .. }) => ExitCode::from(HAD_STOPPED),
        _ => ExitCode::from(FAILED),
    }
}

/// The job's error in a chain of errors.
fn job_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e JobError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(job) = error.downcast_ref() {
            return Some(job);
        }
        next = error.source();
    }
    None
}

/// The error, what caused it, and what the job had done until then.
fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("error: {error}\n");
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Many errors tell their cause themselves.
        if !said.contains(&words) {
            let _ = writeln!(text, "  because: {words}");
        }
        said = words;
        cause = error.source();
    }
    match job_error(error) {
        Some(JobError::Failed {
            operator,
            panicked,
            summary,
            ..
        }) => {
            if let Some(operator) = operator {
                let what = if *panicked { "panicked" } else { "failed" };
                let _ = writeln!(text, "  the function of operator `{operator}` {what}");
            }
            let _ = writeln!(text, "  until then, {summary}");
        }
        Some(JobError::Cancelled { summary } | JobError::Overtaken { summary, .. }) => {
            let _ = writeln!(text, "  until then, {summary}");
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use thalweg_core::error::ErrorKind;
    use thalweg_dataflow::executor::JobSummary;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the report is missing")]
    struct Outer(#[source] JobError);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read: {0}")]
    struct Telling(#[source] io::Error);

    #[test]
    fn the_exit_code_says_how_it_ended() {
        let cancelled = || JobError::Cancelled {
            summary: Box::new(JobSummary::default()),
        };
        let code = |error: JobError| report(Err::<(), _>(error));
        assert_eq!(report(Ok::<_, Failure>(())), ExitCode::SUCCESS);
        assert_eq!(code(JobError::PlanOnly), ExitCode::SUCCESS);
        assert_eq!(code(cancelled()), ExitCode::from(130));
        let overtaken = JobError::Overtaken {
            message: "taken over".to_owned(),
            summary: Box::new(JobSummary::default()),
        };
        assert_eq!(code(overtaken), ExitCode::from(3));
        for (savepoint, expected) in [(None, 4), (Some("/s".to_owned()), 5)] {
            let message = "it has ended".to_owned();
            let ended = JobError::Ended { message, savepoint };
            assert_eq!(code(ended), ExitCode::from(expected));
        }
        assert_eq!(
            code(JobError::rejected(ErrorKind::Data, "no")),
            ExitCode::from(1)
        );
        assert_eq!(
            report(Err::<(), _>(Outer(cancelled()))),
            ExitCode::from(130)
        );
        assert_eq!(
            report(Err::<(), Failure>("words".into())),
            ExitCode::from(1)
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let job = JobError::rejected(ErrorKind::Data, "no such file");
        let text = describe(&Outer(job));
        assert_eq!(
            text,
            "error: the report is missing\n  because: the job cannot start: no such file\n"
        );
        let telling = Telling(io::Error::other("full"));
        assert_eq!(describe(&telling), "error: cannot read: full\n");
    }

    #[test]
    fn a_failure_names_its_operator_and_what_was_done() {
        let failed = JobError::Failed {
            task: "map (1/2)".to_owned(),
            operator: Some("parse".to_owned()),
            message: "index out of bounds".to_owned(),
            panicked: true,
            summary: Box::new(JobSummary {
                name: "orders".to_owned(),
                records_in: 7,
                ..JobSummary::default()
            }),
        };
        let text = describe(&failed);
        for part in [
            "map (1/2)",
            "operator `parse` panicked",
            "index out of bounds",
            "7 records in",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
