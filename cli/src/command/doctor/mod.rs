//! `thalweg doctor`: whether this host can run the engine well, and what to do if not.

mod checks;

use std::process::ExitCode;

use clap::Args;
use thalweg::Failure;

use self::checks::{Check, Status};
use super::output::Output;
use super::print;

/// Check whether this host can run the engine well
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// How to print the findings
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

impl Doctor {
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        let checks = checks::all();
        match self.output {
            Output::Text => print(&text(&checks))?,
            Output::Json => print(&json(&checks))?,
        }
        Ok(if healthy(&checks) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn healthy(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.status != Status::Fail)
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        text.push_str(&format!(
            "{:<5} {:<14} {}\n",
            check.status.name(),
            check.name,
            check.found
        ));
        if let Some(mend) = &check.mend {
            text.push_str(&format!("{:21}-> {mend}\n", ""));
        }
    }
    text.push_str(if healthy(checks) {
        "this host can run the engine\n"
    } else {
        "this host cannot run the engine as it is: mend what says fail\n"
    });
    text
}

fn json(checks: &[Check]) -> String {
    let list = checks.iter().map(|check| {
        serde_json::json!({
            "name": check.name,
            "status": check.status.name(),
            "found": check.found,
            "mend": check.mend,
        })
    });
    let list = serde_json::Value::from_iter(list);
    let page = serde_json::json!({ "healthy": healthy(checks), "checks": list });
    format!("{page:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: Status) -> Check {
        Check {
            name: "thing",
            status,
            found: "found".to_owned(),
            mend: Some("mend".to_owned()),
        }
    }

    #[test]
    fn one_failure_is_a_sick_host_and_a_warning_is_not() {
        assert!(healthy(&[check(Status::Ok), check(Status::Warn)]));
        let sick = [check(Status::Ok), check(Status::Fail)];
        assert!(!healthy(&sick));
        assert!(text(&sick).contains("fail  thing          found\n                     -> mend"));
        let page: serde_json::Value = serde_json::from_str(&json(&sick)).unwrap();
        assert_eq!(page["healthy"], false);
        assert_eq!(page["checks"][1]["status"], "fail");
    }
}
