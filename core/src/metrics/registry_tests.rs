//! A list of metrics: every kind copied out, scopes that end, refusals.

use super::*;

#[test]
fn a_snapshot_shows_every_kind_and_may_leave_the_thread() {
    fn assert_send<T: Send>(_: &T) {}
    let registry = Registry::new(Scope::root().with("shard", 3));
    let counter = registry.counter(("records", "Records read.")).unwrap();
    let gauge = registry.gauge_i64(("leased", "Segments in use.")).unwrap();
    let load = registry.gauge_f64(("busy", "Share at work.")).unwrap();
    let meter = registry.meter(("pace", ""), counter.clone()).unwrap();
    registry
        .rate(("pace_ms", ""), counter.clone(), 1e-3)
        .unwrap();
    let histogram = registry.histogram(("turns", "")).unwrap();
    let bytes = Rc::new(Cell::new(7));
    let read = Rc::clone(&bytes);
    registry.count(("bytes", ""), move || read.get()).unwrap();
    registry.level(("hidden", ""), || None).unwrap();
    registry.level(("shown", ""), || Some(2.5)).unwrap();
    counter.add(10);
    gauge.set(-4);
    load.set(0.5);
    histogram.record(7);
    bytes.set(8);
    let snapshot = registry.snapshot(1_000_000_000);
    assert_send(&snapshot);
    let values: Vec<_> = snapshot
        .iter()
        .map(|metric| (&*metric.name, metric.value))
        .collect();
    let (rate, count) = (10.0, 10);
    let expected = [
        ("busy", MetricValue::Gauge(0.5)),
        ("bytes", MetricValue::Counter(8)),
        ("leased", MetricValue::Gauge(-4.0)),
        ("pace", MetricValue::Meter { rate, count }),
        ("pace_ms", MetricValue::Gauge(0.01)),
        ("records", MetricValue::Counter(10)),
        ("shown", MetricValue::Gauge(2.5)),
        ("turns", MetricValue::Histogram(histogram.snapshot())),
    ];
    assert_eq!(values, expected);
    let mut shards = snapshot.iter().map(|metric| metric.scope.label("shard"));
    assert!(shards.all(|shard| shard == Some("3")));
    assert_eq!(meter.rate(), 10.0);
}

#[test]
fn the_same_name_needs_other_labels_or_another_owner() {
    let shard = Registry::new(Scope::root());
    let map = shard.within("operator", "map");
    map.counter(("records", "")).unwrap();
    let filter = shard.within("operator", "filter");
    filter.counter(("records", "")).unwrap();
    map.of_user().counter(("records", "")).unwrap();
    let refusal = map.counter(("records", "")).unwrap_err();
    let wanted = "records{operator=\"map\"}";
    assert!(refusal.to_string().contains(wanted), "{refusal}");
    let bad = shard.counter(("9lives", "")).unwrap_err();
    assert_eq!(bad, MetricError::Name("9lives".to_owned()));
    let users = shard.snapshot(0).into_iter().filter(|metric| metric.user);
    assert_eq!(users.count(), 1);
    assert_eq!(shard.snapshot(0).len(), 3);
}

#[test]
fn what_is_removed_takes_its_metrics_along() {
    let shard = Registry::new(Scope::root().with("shard", 0));
    let task = shard.within("task", "a");
    let map = task.within("operator", "map");
    map.counter(("records", "")).unwrap();
    task.counter(("turns", "")).unwrap();
    shard.counter(("turns", "")).unwrap();
    task.remove_scope();
    let left = shard.snapshot(0);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].scope.labels().len(), 1);
    task.counter(("turns", "")).unwrap();
}

#[test]
fn what_ends_leaves_its_last_values_and_nothing_they_were_read_from() {
    let shard = Registry::new(Scope::root().with("shard", 0));
    let task = shard.within("task", "a");
    let state = Rc::new(Cell::new(5));
    let read = Rc::clone(&state);
    task.count(("bytes", ""), move || read.get()).unwrap();
    let (brought, seen) = (Rc::clone(&state), Rc::new(Cell::new(0)));
    let told = Rc::clone(&seen);
    task.before_snapshot(move |now| {
        told.set(now);
        brought.set(brought.get() + 1);
    });
    task.level(("nothing", ""), || None).unwrap();
    assert_eq!(shard.snapshot(10)[0].value, MetricValue::Counter(6));
    let last = task.end_scope(20);
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].value, MetricValue::Counter(7));
    assert_eq!(Rc::strong_count(&state), 1, "nothing is held any more");
    state.set(100);
    assert_eq!(shard.snapshot(30), last);
    assert_eq!(seen.get(), 20, "its hook has gone");
}

#[test]
fn a_full_list_refuses() {
    let registry = Registry::new(Scope::root());
    for label in 0..METRICS_LIMIT {
        // Ascending labels of equal width go to the end of the sorted list.
        let inner = registry.within("key", format!("{label:09}"));
        inner.counter(("records", "")).unwrap();
    }
    let refusal = registry.counter(("z_one_more", ""));
    assert_eq!(refusal, Err(MetricError::TooMany));
}

#[test]
fn scopes_that_begin_and_end_among_many_leave_the_others_as_they_are() {
    let shard = Registry::new(Scope::root().with("shard", 0));
    let turns = |task: u64| shard.within("task", task);
    let counters: Vec<_> = (0..200)
        .map(|task| {
            let counter = turns(task).counter(("turns", "")).unwrap();
            let inner = turns(task).within("operator", "map");
            inner
                .level(("level", ""), move || Some(task as f64))
                .unwrap();
            counter.add(task);
            counter
        })
        .collect();
    // 1 is not within 10, nor the other way round.
    for task in (0..200).filter(|task| task % 3 == 0) {
        let last = turns(task).end_scope(10);
        let told: Vec<_> = last.iter().map(|it| (&*it.name, it.value)).collect();
        let (level, count) = (task as f64, task);
        let expected = [
            ("level", MetricValue::Gauge(level)),
            ("turns", MetricValue::Counter(count)),
        ];
        assert_eq!(told, expected);
    }
    counters.iter().for_each(|counter| counter.add(1_000));
    for task in (0..200).filter(|task| task % 5 == 0) {
        turns(task).remove_scope();
    }
    let left = shard.snapshot(20);
    let of = |task: u64| {
        let task = task.to_string();
        let of_task = left
            .iter()
            .filter(|it| it.scope.label("task") == Some(&task));
        of_task.map(|it| it.number() as u64).collect::<Vec<_>>()
    };
    for task in 0..200 {
        let expected = match (task % 5, task % 3) {
            (0, _) => vec![],
            (_, 0) => vec![task, task],
            _ => vec![task, task + 1_000],
        };
        assert_eq!(of(task), expected, "{task}");
    }
    assert!(left.is_sorted_by_key(|it| (&it.name, &it.scope)));
}
