//! The metrics a user's function has: made by name, shown under its operator.
//!
//! Entered when a function opens, and by functions that make a metric only when they need it. Invariants:
//! one name in one operator is one metric; a name that cannot be is told and its metric counts unseen, so
//! that a function always gets a handle. Lives on the thread of its shard.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::counter::Counter;
use super::gauge::Gauge;
use super::histogram::Histogram;
use super::meter::Meter;
use super::registry::{Described, Handle, MetricError, Registry};

/// What users' metrics are said to mean.
const HELP: &str = "A metric of the program.";
/// The longest name, bytes.
const NAME_LIMIT: usize = 256;
/// So many refusals are told; further ones are of a program that makes names up.
const REFUSALS_LIMIT: usize = 100;

/// Makes the metrics of one operator in one subtask. Clones make the same.
///
/// ```
/// use thalweg_core::metrics::{MetricGroup, Registry, Scope};
/// let registry = Registry::new(Scope::root());
/// let metrics = MetricGroup::new(&registry.within("operator", "map"));
/// let unreadable = metrics.counter("unreadable");
/// unreadable.inc();
/// assert_eq!(metrics.counter("unreadable").get(), 1);
/// assert_eq!(registry.snapshot(0)[0].number(), 1.0);
/// ```
#[derive(Clone)]
pub struct MetricGroup {
    registry: Registry,
    refused: Rc<RefCell<BTreeSet<String>>>,
}

impl MetricGroup {
    /// The metrics of users in the scope of `registry`.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.of_user(),
            refused: Rc::default(),
        }
    }

    /// How often something happened. The same name is the same counter.
    pub fn counter(&self, name: &str) -> Counter {
        let made = self.registry.counter(described(name));
        self.made(name, made, |known| match known {
            Handle::Counter(counter) => Some(counter),
            _ => None,
        })
    }

    /// How much there is now, set by the function. The same name is the same gauge.
    pub fn gauge(&self, name: &str) -> Gauge<f64> {
        let made = self.registry.gauge_f64(described(name));
        self.made(name, made, |known| match known {
            Handle::Float(gauge) => Some(gauge),
            _ => None,
        })
    }

    /// How much there is now: `read` is asked when somebody looks, between two turns of the task. Once it
    /// has panicked it is asked no more and shows nothing.
    pub fn gauge_of(&self, name: &str, read: impl Fn() -> f64 + 'static) {
        let broken = Cell::new(false);
        let read = move || {
            if broken.get() {
                return None;
            }
            let value = catch_unwind(AssertUnwindSafe(&read)).ok();
            broken.set(value.is_none());
            value
        };
        let made = self.registry.level(described(name), read);
        self.made(name, made, |_known| None);
    }

    /// How fast something happens: [`Meter::mark`] counts. The same name is the same meter.
    pub fn meter(&self, name: &str) -> Meter {
        let made = self.registry.meter(described(name), Counter::new());
        self.made(name, made, |known| match known {
            Handle::Meter(meter) => Some(meter),
            _ => None,
        })
    }

    /// How a value is spread. The same name is the same histogram.
    pub fn histogram(&self, name: &str) -> Histogram {
        let made = self.registry.histogram(described(name));
        self.made(name, made, |known| match known {
            Handle::Histogram(histogram) => Some(histogram),
            _ => None,
        })
    }

    /// The first refusal so far, by name: what was asked for and could not be.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.refused.borrow().first().cloned()
    }

    /// What was made, or what is known under the name already, or something nobody sees.
    fn made<M: Default>(
        &self,
        name: &str,
        made: Result<M, MetricError>,
        same: impl FnOnce(Handle) -> Option<M>,
    ) -> M {
        let error = match made {
            Ok(metric) => return metric,
            Err(error) => error,
        };
        let known = match error {
            MetricError::Twice { .. } => self.registry.known(name).and_then(same),
            _ => None,
        };
        known.unwrap_or_else(|| {
            self.refuse(error.to_string());
            M::default()
        })
    }

    fn refuse(&self, refusal: String) {
        let mut refused = self.refused.borrow_mut();
        if refused.len() < REFUSALS_LIMIT && !refused.contains(&refusal) {
            tracing::warn!("a metric is not shown: {refusal}");
            refused.insert(refusal);
        }
    }
}

fn described(name: &str) -> Described {
    let end = name.floor_char_boundary(NAME_LIMIT);
    Described::new(Cow::Owned(name[..end].to_owned()), HELP.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scope;

    fn group() -> (Registry, MetricGroup) {
        let registry = Registry::new(Scope::root()).within("operator", "map");
        (registry.clone(), MetricGroup::new(&registry))
    }

    #[test]
    fn one_name_is_one_metric() {
        let (registry, metrics) = group();
        metrics.counter("seen").add(2);
        metrics.clone().counter("seen").add(3);
        metrics.gauge("level").set(0.5);
        assert_eq!(metrics.gauge("level").get(), 0.5);
        metrics.meter("pace").mark(4);
        assert_eq!(metrics.meter("pace").count(), 4);
        metrics.histogram("sizes").record(9);
        assert_eq!(metrics.histogram("sizes").snapshot().max, 9);
        metrics.gauge_of("answer", || 42.0);
        let shown = registry.snapshot(0);
        let numbers: Vec<_> = shown.iter().map(|m| (&*m.name, m.number())).collect();
        let expected = [
            ("answer", 42.0),
            ("level", 0.5),
            ("pace", 4.0),
            ("seen", 5.0),
            ("sizes", 1.0),
        ];
        assert_eq!(numbers, expected);
        assert!(shown.iter().all(|metric| metric.user));
        assert_eq!(metrics.refusal(), None);
    }

    #[test]
    fn a_name_that_cannot_be_is_told_and_counts_unseen() {
        let (registry, metrics) = group();
        metrics.counter("not a name").inc();
        let refusal = metrics.refusal().unwrap();
        assert!(refusal.contains("`not a name`"), "{refusal}");
        metrics.counter("twice");
        metrics.histogram("twice").record(1);
        assert_eq!(registry.snapshot(0).len(), 1);
    }

    #[test]
    fn a_gauge_that_panics_shows_nothing() {
        let (registry, metrics) = group();
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        metrics.gauge_of("broken", move || {
            count.set(count.get() + 1);
            panic!("no value");
        });
        metrics.counter("whole");
        for _ in 0..2 {
            let shown = registry.snapshot(0);
            assert_eq!(shown.len(), 1);
            assert_eq!(shown[0].name, "whole");
        }
        assert_eq!(asked.get(), 1);
    }
}
