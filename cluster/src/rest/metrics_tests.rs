//! The text that Prometheus reads: names, types, units, escapes.

use thalweg_core::metrics::{MetricGroup, Registry, Scope};

use super::*;

fn registry() -> Registry {
    Registry::new(Scope::root().with("task", "map"))
}

fn written(registry: &Registry) -> String {
    text(&registry.snapshot(1_000_000_000)).unwrap()
}

#[test]
fn engine_metrics_have_their_names_types_and_units() {
    let registry = registry();
    registry.count(vocabulary::NUM_RECORDS_IN, || 7).unwrap();
    registry
        .count(vocabulary::BUSY_TIME_TOTAL, || 1_500)
        .unwrap();
    let other = registry.within("subtask", 1);
    other.count(vocabulary::NUM_RECORDS_IN, || 9).unwrap();
    let expected = "\
# HELP thalweg_task_busy_seconds_total Time at work or ready to be, since the start.
# TYPE thalweg_task_busy_seconds_total counter
thalweg_task_busy_seconds_total{task=\"map\"} 1.5
# HELP thalweg_task_records_in_total Records that entered the task's chain at its head; of a source, those it read.
# TYPE thalweg_task_records_in_total counter
thalweg_task_records_in_total{task=\"map\"} 7
thalweg_task_records_in_total{task=\"map\",subtask=\"1\"} 9
";
    assert_eq!(written(&registry), expected);
}

#[test]
fn the_spread_of_an_engine_metric_is_in_seconds() {
    let registry = registry();
    let spread = registry.histogram(vocabulary::INPUT_BUFFER_TIME).unwrap();
    spread.record_many(200, 10);
    let expected = "\
# HELP thalweg_task_input_buffer_seconds From when a buffer of records is taken until all of it is applied.
# TYPE thalweg_task_input_buffer_seconds summary
thalweg_task_input_buffer_seconds{task=\"map\",quantile=\"0.5\"} 0.0000002";
    let written = written(&registry);
    assert!(written.starts_with(expected), "{written}");
    assert!(
        written.contains("seconds_sum{task=\"map\"} 0.000002"),
        "{written}"
    );
    assert!(
        written.ends_with("seconds_count{task=\"map\"} 10\n"),
        "{written}"
    );
}

#[test]
fn every_kind_of_a_users_metric_is_shown() {
    let registry = registry();
    let metrics = MetricGroup::new(&registry);
    metrics.counter("slowLookups").add(3);
    metrics.gauge("level").set(0.25);
    metrics.meter("pace").mark(10);
    metrics.histogram("size").record_many(5, 4);
    let text = written(&registry);
    for line in [
        "# TYPE thalweg_operator_user_slowLookups_total counter",
        "thalweg_operator_user_slowLookups_total{task=\"map\"} 3",
        "thalweg_operator_user_level{task=\"map\"} 0.25",
        "thalweg_operator_user_pace_total{task=\"map\"} 10",
        "thalweg_operator_user_pace_per_second{task=\"map\"} 10",
        "# TYPE thalweg_operator_user_size summary",
        "thalweg_operator_user_size{task=\"map\",quantile=\"0.99\"} 5",
        "thalweg_operator_user_size_sum{task=\"map\"} 20",
        "thalweg_operator_user_size_count{task=\"map\"} 4",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
}

#[test]
fn labels_are_escaped() {
    let registry = Registry::new(Scope::root().with("task", "a \"b\" \\ c\nd"));
    registry.count(vocabulary::NUM_BUFFERS_IN, || 1).unwrap();
    let text = written(&registry);
    let line = "thalweg_task_buffers_in_total{task=\"a \\\"b\\\" \\\\ c\\nd\"} 1";
    assert!(text.lines().any(|known| known == line), "{text}");
}

#[test]
fn one_name_has_one_type() {
    let registry = registry();
    let (first, second) = (
        registry.within("operator", "a"),
        registry.within("operator", "b"),
    );
    MetricGroup::new(&first).gauge("size").set(1.0);
    MetricGroup::new(&second).histogram("size").record(2);
    let text = written(&registry);
    let types: Vec<_> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let expected = [
        "# TYPE thalweg_operator_user_size gauge",
        "# TYPE thalweg_operator_user_size_summary summary",
    ];
    assert_eq!(types, expected, "{text}");
}

#[test]
fn what_is_shown_of_nothing_is_nothing() {
    assert_eq!(written(&registry()), "");
}
