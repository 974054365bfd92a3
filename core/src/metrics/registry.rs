//! A shard's list of metrics, copied out on request.
//!
//! Whatever counts registers its metric once, when it starts, and keeps the handle; an exporter asks the
//! shard (through its mailbox) for a snapshot, which alone may travel. Lives on the thread of its shard.
//!
//! Invariants: a name and its labels occur once in a list; a list is bounded, and what does not fit is
//! refused with an error and never dropped silently; what ends takes its metrics off the list
//! ([`Registry::remove_scope`]).

use std::cell::RefCell;
use std::rc::Rc;

use super::counter::Counter;
use super::gauge::{Gauge, GaugeNumber};
use super::histogram::{Histogram, HistogramSnapshot};
use super::meter::Meter;
use super::scope::{Scope, is_name};

/// Metrics of one shard at most.
pub const METRICS_LIMIT: usize = 100_000;

/// One metric at one moment. Plain data: may go to any thread.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSnapshot {
    /// The name, with its unit as the last word.
    pub name: &'static str,
    /// What it means, in a sentence.
    pub help: &'static str,
    /// The labels, outermost first.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: MetricValue,
}

/// What a metric showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricValue {
    /// How many in all.
    Counter(u64),
    /// How much now.
    Gauge(f64),
    /// How fast, and how many in all.
    Meter {
        /// Per second, over about a minute.
        rate: f64,
        /// In all.
        count: u64,
    },
    /// How it is spread.
    Histogram(HistogramSnapshot),
}

/// Why a metric was not taken into the list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// The name has characters a metric name cannot have.
    #[error("`{0}` is not a metric name: use letters, digits and `_`, not starting with a digit")]
    Name(&'static str),
    /// Name and labels are in the list already.
    #[error("the metric {name}{scope} is already registered: give one of the two another label")]
    Twice {
        /// The name.
        name: &'static str,
        /// The labels.
        scope: Scope,
    },
    /// The list is full.
    #[error("a shard holds at most {METRICS_LIMIT} metrics: register fewer labels")]
    TooMany,
}

#[derive(Clone)]
enum Handle {
    Counter(Counter),
    Float(Gauge<f64>),
    Whole(Gauge<i64>),
    Meter(Meter),
    Histogram(Histogram),
}

struct Entry {
    name: &'static str,
    help: &'static str,
    scope: Scope,
    handle: Handle,
}

/// The list as one scope sees it. Clones and inner scopes register into the same list.
///
/// ```
/// use thalweg_core::metrics::{MetricValue, Registry, Scope};
/// let shard = Registry::new(Scope::root().with("shard", 0));
/// let records = shard.within("operator", "map").counter("records_in", "Records read.").unwrap();
/// records.add(3);
/// let snapshot = shard.snapshot();
/// assert_eq!(snapshot[0].value, MetricValue::Counter(3));
/// assert_eq!(snapshot[0].labels.len(), 2);
/// ```
#[derive(Clone)]
pub struct Registry {
    scope: Scope,
    list: Rc<RefCell<List>>,
}

#[derive(Default)]
struct List {
    /// Sorted by name, then labels.
    entries: Vec<Entry>,
}

impl Registry {
    /// An empty list whose metrics all carry the labels of `scope`.
    #[must_use]
    pub fn new(scope: Scope) -> Registry {
        Registry {
            scope,
            list: Rc::default(),
        }
    }

    /// The same list, seen from a scope with one more label.
    #[must_use]
    pub fn within(&self, label: &'static str, value: impl std::fmt::Display) -> Registry {
        Registry {
            scope: self.scope.with(label, value),
            list: Rc::clone(&self.list),
        }
    }

    /// The labels metrics get that are registered here.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Registers a new counter.
    ///
    /// # Errors
    /// When the name is no name, is registered with the same labels, or the list is full.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Result<Counter, MetricError> {
        let counter = Counter::new();
        self.add(name, help, Handle::Counter(counter.clone()))?;
        Ok(counter)
    }

    /// Registers a new gauge of fractions.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn gauge_f64(
        &self,
        name: &'static str,
        help: &'static str,
    ) -> Result<Gauge<f64>, MetricError> {
        let gauge = Gauge::new();
        self.add(name, help, Handle::Float(gauge.clone()))?;
        Ok(gauge)
    }

    /// Registers a new gauge of whole numbers.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn gauge_i64(
        &self,
        name: &'static str,
        help: &'static str,
    ) -> Result<Gauge<i64>, MetricError> {
        let gauge = Gauge::new();
        self.add(name, help, Handle::Whole(gauge.clone()))?;
        Ok(gauge)
    }

    /// Registers a new meter on `counter`, started at `now_ns` of the shard's monotonic clock.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn meter(
        &self,
        name: &'static str,
        help: &'static str,
        counter: Counter,
        now_ns: u64,
    ) -> Result<Meter, MetricError> {
        let meter = Meter::new(counter, now_ns);
        self.add(name, help, Handle::Meter(meter.clone()))?;
        Ok(meter)
    }

    /// Registers a new histogram.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
    ) -> Result<Histogram, MetricError> {
        let histogram = Histogram::new();
        self.add(name, help, Handle::Histogram(histogram.clone()))?;
        Ok(histogram)
    }

    /// Takes all that this scope and its inner ones registered, and nothing else, off the list.
    pub fn remove_scope(&self) {
        let inside = |entry: &Entry| {
            self.scope
                .labels()
                .iter()
                .all(|(name, value)| entry.scope.label(name) == Some(value))
        };
        self.list
            .borrow_mut()
            .entries
            .retain(|entry| !inside(entry));
    }

    /// Updates all meters to `now_ns` of the shard's monotonic clock.
    pub fn update_meters(&self, now_ns: u64) {
        for entry in &self.list.borrow().entries {
            if let Handle::Meter(meter) = &entry.handle {
                meter.update(now_ns);
            }
        }
    }

    /// All metrics of the list, whichever scope registered them, sorted by name and then labels.
    #[must_use]
    pub fn snapshot(&self) -> Vec<MetricSnapshot> {
        let list = self.list.borrow();
        let copied = |entry: &Entry| MetricSnapshot {
            name: entry.name,
            help: entry.help,
            labels: entry.scope.labels().to_vec(),
            value: entry.handle.value(),
        };
        list.entries.iter().map(copied).collect()
    }

    fn add(
        &self,
        name: &'static str,
        help: &'static str,
        handle: Handle,
    ) -> Result<(), MetricError> {
        if !is_name(name) {
            return Err(MetricError::Name(name));
        }
        let entries = &mut self.list.borrow_mut().entries;
        if entries.len() == METRICS_LIMIT {
            return Err(MetricError::TooMany);
        }
        let place =
            entries.binary_search_by(|entry| (entry.name, &entry.scope).cmp(&(name, &self.scope)));
        match place {
            Ok(_) => Err(MetricError::Twice {
                name,
                scope: self.scope.clone(),
            }),
            Err(place) => {
                entries.insert(
                    place,
                    Entry {
                        name,
                        help,
                        scope: self.scope.clone(),
                        handle,
                    },
                );
                Ok(())
            }
        }
    }
}

impl Handle {
    fn value(&self) -> MetricValue {
        match self {
            Handle::Counter(counter) => MetricValue::Counter(counter.get()),
            Handle::Float(gauge) => MetricValue::Gauge(gauge.get().to_f64()),
            Handle::Whole(gauge) => MetricValue::Gauge(gauge.get().to_f64()),
            Handle::Meter(meter) => MetricValue::Meter {
                rate: meter.rate(),
                count: meter.count(),
            },
            Handle::Histogram(histogram) => MetricValue::Histogram(histogram.snapshot()),
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let metrics = self.list.borrow().entries.len();
        f.debug_struct("Registry")
            .field("scope", &self.scope)
            .field("metrics", &metrics)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_shows_every_kind_and_may_leave_the_thread() {
        fn assert_send<T: Send>(_: &T) {}
        let registry = Registry::new(Scope::root().with("shard", 3));
        let counter = registry.counter("records_in", "Records read.").unwrap();
        let gauge = registry
            .gauge_i64("segments_leased", "Segments in use.")
            .unwrap();
        let load = registry
            .gauge_f64("busy_ratio", "Share of time at work.")
            .unwrap();
        let meter = registry
            .meter("records_in_rate", "Records a second.", counter.clone(), 0)
            .unwrap();
        let histogram = registry
            .histogram("turn_duration_ns", "Length of a turn.")
            .unwrap();
        counter.add(10);
        gauge.set(-4);
        load.set(0.5);
        histogram.record(7);
        registry.update_meters(1_000_000_000);
        let snapshot = registry.snapshot();
        assert_send(&snapshot);
        let values: Vec<_> = snapshot
            .iter()
            .map(|metric| (metric.name, metric.value))
            .collect();
        assert_eq!(
            values,
            [
                ("busy_ratio", MetricValue::Gauge(0.5)),
                ("records_in", MetricValue::Counter(10)),
                (
                    "records_in_rate",
                    MetricValue::Meter {
                        rate: 10.0,
                        count: 10
                    }
                ),
                ("segments_leased", MetricValue::Gauge(-4.0)),
                (
                    "turn_duration_ns",
                    MetricValue::Histogram(histogram.snapshot())
                ),
            ]
        );
        assert!(
            snapshot
                .iter()
                .all(|metric| metric.labels == [("shard", "3".to_owned())])
        );
        assert_eq!(meter.rate(), 10.0);
    }

    #[test]
    fn the_same_name_needs_other_labels() {
        let shard = Registry::new(Scope::root());
        let map = shard.within("operator", "map");
        map.counter("records_in", "").unwrap();
        shard
            .within("operator", "filter")
            .counter("records_in", "")
            .unwrap();
        let refusal = map.counter("records_in", "").unwrap_err();
        assert!(
            refusal.to_string().contains("records_in{operator=\"map\"}"),
            "{refusal}"
        );
        assert_eq!(
            shard.counter("9lives", ""),
            Err(MetricError::Name("9lives"))
        );
        assert_eq!(shard.snapshot().len(), 2);
    }

    #[test]
    fn what_ends_takes_its_metrics_along() {
        let shard = Registry::new(Scope::root().with("shard", 0));
        let task = shard.within("task", "a");
        task.within("operator", "map")
            .counter("records_in", "")
            .unwrap();
        task.counter("turns", "").unwrap();
        shard.counter("turns", "").unwrap();
        task.remove_scope();
        let left: Vec<_> = shard
            .snapshot()
            .into_iter()
            .map(|metric| metric.labels.len())
            .collect();
        assert_eq!(left, [1]);
        task.counter("turns", "").unwrap();
    }

    #[test]
    fn a_full_list_refuses() {
        let registry = Registry::new(Scope::root());
        for label in 0..METRICS_LIMIT {
            // Ascending labels of equal width go to the end of the sorted list.
            registry
                .within("key", format!("{label:09}"))
                .counter("records", "")
                .unwrap();
        }
        assert_eq!(registry.counter("one_more", ""), Err(MetricError::TooMany));
    }
}
