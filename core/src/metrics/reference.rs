//! The reference page of all metrics, generated from the vocabulary.
//!
//! `docs/reference/metrics.md` holds its output; a check compares the two. Lives on any thread.

use super::vocabulary::{ALL, Definition, Level};

/// The page in Markdown: how metrics are read, then a table for each level.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = "# Metrics\n\n\
         Every shard counts in cells of its own and copies them out when somebody asks; nothing is \
         counted for each record that is not counted anyway, and times are taken once per turn or buffer. What \
         is of the job as a whole is counted where it is led, over all its attempts.\n\n\
         - A finished job has them in its result: `JobResult::metric`, `JobSummary::metrics`.\n\
         - A running job shows them to Prometheus: `thalweg run --local --metrics-address \
         127.0.0.1:9249 PROGRAM`, or the setting `thalweg.metrics.address`, then \
         `http://127.0.0.1:9249/metrics`.\n\
         - In a test, `TestHarness::metric` reads one.\n\n\
         Names are Flink's where the meaning is the same; for Prometheus they are in base units. What \
         shows nothing (a watermark before the first) is left out. After a task's end its last values \
         stay until the job's. Flink's `lastCheckpointExternalPath` is a text and therefore no metric here: \
         `thalweg checkpoint trigger` and `inspect` tell where checkpoints are.\n"
        .to_owned();
    for level in Level::ALL {
        let labels: Vec<_> = level.labels().iter().map(|l| format!("`{l}`")).collect();
        page.push_str(&format!(
            "\n## Of each {}\n\nLabels: {}.\n\n\
             | name | Prometheus | kind | unit | meaning |\n|---|---|---|---|---|\n",
            level.name(),
            labels.join(", ")
        ));
        let of_level = ALL.iter().filter(|metric| metric.level == level);
        of_level.for_each(|metric| page.push_str(&row(metric)));
    }
    page.push_str(
        "\n## Of the program\n\n\
         A function makes metrics of its own when it opens: `metrics().counter(name)`, `.gauge(name)`, \
         `.gauge_of(name, read)`, `.meter(name)`, `.histogram(name)`. They are shown with the labels of \
         their operator; one name in one operator is one metric. For Prometheus `lookups` is \
         `thalweg_operator_user_lookups`; a counter's ends in `_total`, and a meter is both `_total` and \
         `_per_second`. A histogram is a summary with the quantiles 0.5, 0.95, 0.99 and 0.999.\n",
    );
    page
}

fn row(metric: &Definition) -> String {
    format!(
        "| `{}` | `{}` | {} | {} | {} |\n",
        metric.name,
        metric.prometheus,
        metric.kind.name(),
        metric.unit,
        metric.help
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_one_row_of_five_cells() {
        let page = reference_markdown();
        for metric in ALL {
            let start = format!("| `{}` |", metric.name);
            let rows: Vec<&str> = (page.lines())
                .filter(|line| line.starts_with(&start))
                .collect();
            assert_eq!(rows.len(), 1, "{}", metric.name);
            assert_eq!(rows[0].matches('|').count(), 6, "{}", rows[0]);
        }
    }
}
