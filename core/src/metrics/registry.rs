//! A shard's list of metrics, copied out on request.
//!
//! Whatever counts registers its metric once, when it starts, and keeps the handle; or it gives the list a
//! function that reads what is counted anyway. An exporter asks the shard (through its mailbox) for a
//! snapshot, which alone may travel. Lives on the thread of its shard.
//!
//! Invariants: a name and its labels occur once in a list; a list is bounded, and what does not fit is
//! refused with an error and never dropped silently; what ends leaves its last values and nothing else
//! on the list ([`Registry::end_scope`]), or takes them off it ([`Registry::remove_scope`]). What a scope does costs
//! what it has, not what the list has: thousands of tasks begin and end on a shard.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use super::counter::Counter;
use super::gauge::{Gauge, GaugeNumber};
use super::histogram::{Histogram, HistogramSnapshot};
use super::meter::Meter;
use super::scope::{Scope, is_name};
use super::vocabulary::Definition;

/// Metrics of one shard at most.
pub const METRICS_LIMIT: usize = 100_000;

/// What a metric is called and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    name: Cow<'static, str>,
    help: Cow<'static, str>,
}

impl Described {
    /// By a name and a sentence.
    #[must_use]
    pub fn new(name: Cow<'static, str>, help: Cow<'static, str>) -> Self {
        Self { name, help }
    }
}

impl From<(&'static str, &'static str)> for Described {
    fn from((name, help): (&'static str, &'static str)) -> Self {
        Self {
            name: name.into(),
            help: help.into(),
        }
    }
}

impl From<&'static Definition> for Described {
    fn from(definition: &'static Definition) -> Self {
        (definition.name, definition.help).into()
    }
}

/// One metric at one moment. Plain data: may go to any thread.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSnapshot {
    /// The name: one of the [`vocabulary`](super::vocabulary), or the user's.
    pub name: Cow<'static, str>,
    /// What it means, in a sentence.
    pub help: Cow<'static, str>,
    /// The labels.
    pub scope: Scope,
    /// Whether it is a user's.
    pub user: bool,
    /// The value.
    pub value: MetricValue,
}

impl MetricSnapshot {
    fn key(&self) -> (&str, &Scope, bool) {
        (&self.name, &self.scope, self.user)
    }

    /// The value as one number: a count, a level, the count of a meter or a histogram.
    #[must_use]
    pub fn number(&self) -> f64 {
        match self.value {
            MetricValue::Counter(count) | MetricValue::Meter { count, .. } => count as f64,
            MetricValue::Gauge(level) => level,
            MetricValue::Histogram(spread) => spread.count as f64,
        }
    }
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
    Name(String),
    /// Name and labels are in the list already.
    #[error("the metric {name}{scope} is already registered: give one of the two another name")]
    Twice {
        /// The name.
        name: String,
        /// The labels.
        scope: Scope,
    },
    /// The list is full.
    #[error("a shard holds at most {METRICS_LIMIT} metrics: register fewer")]
    TooMany,
}

/// Where a value comes from.
#[derive(Clone)]
pub(super) enum Handle {
    Counter(Counter),
    Float(Gauge<f64>),
    Whole(Gauge<i64>),
    Meter(Meter),
    Histogram(Histogram),
    /// Counted elsewhere and read here.
    Count(Rc<dyn Fn() -> u64>),
    /// Known elsewhere and read here; `None` shows nothing.
    Read(Rc<dyn Fn() -> Option<f64>>),
    /// The rate of a meter, times something, as a level.
    Rate(Meter, f64),
    /// What was shown last by what has ended.
    Last(MetricValue),
}

/// What tells one metric from the others; in their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: Cow<'static, str>,
    scope: Scope,
    user: bool,
}

struct Listed {
    help: Cow<'static, str>,
    handle: Handle,
}

impl Listed {
    fn snapshot(&self, key: &Key) -> Option<MetricSnapshot> {
        Some(MetricSnapshot {
            name: key.name.clone(),
            help: self.help.clone(),
            scope: key.scope.clone(),
            user: key.user,
            value: self.handle.value()?,
        })
    }

    /// Brings a meter up to a moment.
    fn bring_up(&self, now_ns: u64) {
        if let Handle::Meter(meter) | Handle::Rate(meter, _) = &self.handle {
            meter.update(now_ns);
        }
    }
}

/// Called at a moment of the shard's monotonic clock, ns.
type Hook = Rc<dyn Fn(u64)>;

/// The list as one scope sees it. Clones and inner scopes register into the same list.
///
/// ```
/// use thalweg_core::metrics::{MetricValue, Registry, Scope};
/// let shard = Registry::new(Scope::root().with("shard", 0));
/// let map = shard.within("operator", "map");
/// let records = map.counter(("records", "Records read.")).unwrap();
/// records.add(3);
/// let snapshot = shard.snapshot(0);
/// assert_eq!(snapshot[0].value, MetricValue::Counter(3));
/// assert_eq!(snapshot[0].scope.label("operator"), Some("map"));
/// ```
#[derive(Clone)]
pub struct Registry {
    scope: Scope,
    user: bool,
    list: Rc<List>,
}

#[derive(Default)]
struct List {
    entries: RefCell<BTreeMap<Key, Listed>>,
    /// What each scope has among them.
    by_scope: RefCell<BTreeMap<Scope, Vec<Key>>>,
    /// What brings the values of each scope up to date before they are read.
    hooks: RefCell<BTreeMap<Scope, Vec<Hook>>>,
    /// The newest moment this list was told of.
    now_ns: Cell<u64>,
}

impl Registry {
    /// An empty list whose metrics all carry the labels of `scope`.
    #[must_use]
    pub fn new(scope: Scope) -> Registry {
        Registry {
            scope,
            user: false,
            list: Rc::default(),
        }
    }

    /// The same list, seen from a scope with one more label.
    #[must_use]
    pub fn within(&self, label: &'static str, value: impl std::fmt::Display) -> Registry {
        Registry {
            scope: self.scope.with(label, value),
            user: self.user,
            list: Rc::clone(&self.list),
        }
    }

    /// The same list and scope, for metrics of the user: their names do not collide with the engine's.
    #[must_use]
    pub fn of_user(&self) -> Registry {
        Registry {
            user: true,
            ..self.clone()
        }
    }

    /// The labels metrics get that are registered here.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Tells the list what time it is on the shard's monotonic clock: meters registered from now on start
    /// here.
    pub fn set_now(&self, now_ns: u64) {
        self.list.now_ns.set(now_ns);
    }

    /// Registers a new counter.
    ///
    /// # Errors
    /// When the name is no name, is registered with the same labels, or the list is full.
    pub fn counter(&self, described: impl Into<Described>) -> Result<Counter, MetricError> {
        let counter = Counter::new();
        self.add(described, Handle::Counter(counter.clone()))?;
        Ok(counter)
    }

    /// Registers a count that is kept elsewhere.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn count(
        &self,
        described: impl Into<Described>,
        read: impl Fn() -> u64 + 'static,
    ) -> Result<(), MetricError> {
        self.add(described, Handle::Count(Rc::new(read)))
    }

    /// Registers a new gauge of fractions.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn gauge_f64(&self, described: impl Into<Described>) -> Result<Gauge<f64>, MetricError> {
        let gauge = Gauge::new();
        self.add(described, Handle::Float(gauge.clone()))?;
        Ok(gauge)
    }

    /// Registers a new gauge of whole numbers.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn gauge_i64(&self, described: impl Into<Described>) -> Result<Gauge<i64>, MetricError> {
        let gauge = Gauge::new();
        self.add(described, Handle::Whole(gauge.clone()))?;
        Ok(gauge)
    }

    /// Registers a level that is known elsewhere; while `read` answers `None`, it is not shown.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn level(
        &self,
        described: impl Into<Described>,
        read: impl Fn() -> Option<f64> + 'static,
    ) -> Result<(), MetricError> {
        self.add(described, Handle::Read(Rc::new(read)))
    }

    /// Registers a new meter on `counter`, started now.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn meter(
        &self,
        described: impl Into<Described>,
        counter: Counter,
    ) -> Result<Meter, MetricError> {
        let meter = Meter::new(counter, self.list.now_ns.get());
        self.add(described, Handle::Meter(meter.clone()))?;
        Ok(meter)
    }

    /// Registers how fast `counter` grows, started now: a second's growth times `unit`, as a level.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn rate(
        &self,
        described: impl Into<Described>,
        counter: Counter,
        unit: f64,
    ) -> Result<(), MetricError> {
        let meter = Meter::new(counter, self.list.now_ns.get());
        self.add(described, Handle::Rate(meter, unit))
    }

    /// Registers a new histogram.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn histogram(&self, described: impl Into<Described>) -> Result<Histogram, MetricError> {
        let histogram = Histogram::new();
        self.add(described, Handle::Histogram(histogram.clone()))?;
        Ok(histogram)
    }

    /// Has `bring_up` called with the time before this scope's values are read.
    pub fn before_snapshot(&self, bring_up: impl Fn(u64) + 'static) {
        let hooks = &mut *self.list.hooks.borrow_mut();
        let of_scope = hooks.entry(self.scope.clone()).or_default();
        of_scope.push(Rc::new(bring_up));
    }

    /// Takes all that this scope and its inner ones registered, and nothing else, off the list.
    pub fn remove_scope(&self) {
        let keys = take_within(&self.list.by_scope, &self.scope);
        let hooks = take_within(&self.list.hooks, &self.scope);
        let removed: Vec<_> = {
            let entries = &mut *self.list.entries.borrow_mut();
            keys.iter().map(|key| entries.remove(key)).collect()
        };
        // Dropped last: what a user's function owns may do anything when it goes.
        drop((removed, hooks));
    }

    /// What this scope and its inner ones measured has come to its end at `now_ns`: answers their last
    /// values, which stay on the list, and lets go of what they were read from.
    pub fn end_scope(&self, now_ns: u64) -> Vec<MetricSnapshot> {
        self.set_now(now_ns);
        let hooks = take_within(&self.list.hooks, &self.scope);
        hooks.iter().for_each(|hook| hook(now_ns));
        let mut told = Vec::new();
        let mut read_from = Vec::new();
        let entries = &mut *self.list.entries.borrow_mut();
        let by_scope = &mut *self.list.by_scope.borrow_mut();
        let of_scope = |scope: &Scope| scope.is_within(&self.scope);
        let inner = by_scope.range(self.scope.clone()..);
        let inner = inner.take_while(|(scope, _)| of_scope(scope));
        let inner = inner.flat_map(|(_, keys)| keys);
        let inner = inner.filter_map(|key| entries.get(key));
        inner.for_each(|entry| entry.bring_up(now_ns));
        let inner = by_scope.range_mut(self.scope.clone()..);
        for (_, keys) in inner.take_while(|(scope, _)| of_scope(scope)) {
            keys.retain(|key| {
                let Some(entry) = entries.get_mut(key) else {
                    unreachable!("what a scope has is on the list");
                };
                let Some(last) = entry.snapshot(key) else {
                    read_from.extend(entries.remove(key).map(|entry| entry.handle));
                    return false;
                };
                let before = std::mem::replace(&mut entry.handle, Handle::Last(last.value));
                read_from.push(before);
                told.push(last);
                true
            });
        }
        told.sort_unstable_by(|one, other| one.key().cmp(&other.key()));
        // Dropped last: what a user's function owns may do anything when it goes.
        drop((read_from, hooks));
        told
    }

    /// All metrics of the list at `now_ns` of the shard's monotonic clock, whichever scope registered
    /// them, sorted by name and then labels. Those that show nothing are left out.
    #[must_use]
    pub fn snapshot(&self, now_ns: u64) -> Vec<MetricSnapshot> {
        self.set_now(now_ns);
        // Outside the borrow: a hook may look at the list.
        let hooks: Vec<Hook> = {
            let hooks = self.list.hooks.borrow();
            hooks.values().flatten().map(Rc::clone).collect()
        };
        hooks.iter().for_each(|hook| hook(now_ns));
        let entries = &*self.list.entries.borrow();
        entries.values().for_each(|entry| entry.bring_up(now_ns));
        let shown = entries.iter();
        shown
            .filter_map(|(key, entry)| entry.snapshot(key))
            .collect()
    }

    /// What is registered under the name in exactly this scope.
    pub(super) fn known(&self, name: &str) -> Option<Handle> {
        let entries = self.list.entries.borrow();
        let known = entries.get(&self.key(name.to_owned().into()))?;
        Some(known.handle.clone())
    }

    fn key(&self, name: Cow<'static, str>) -> Key {
        Key {
            name,
            scope: self.scope.clone(),
            user: self.user,
        }
    }

    fn add(&self, described: impl Into<Described>, handle: Handle) -> Result<(), MetricError> {
        let described = described.into();
        if !is_name(&described.name) {
            return Err(MetricError::Name(described.name.into_owned()));
        }
        let entries = &mut *self.list.entries.borrow_mut();
        if entries.len() == METRICS_LIMIT {
            return Err(MetricError::TooMany);
        }
        let key = self.key(described.name);
        let Entry::Vacant(place) = entries.entry(key.clone()) else {
            return Err(MetricError::Twice {
                name: key.name.into_owned(),
                scope: key.scope,
            });
        };
        let help = described.help;
        place.insert(Listed { help, handle });
        let by_scope = &mut *self.list.by_scope.borrow_mut();
        by_scope.entry(self.scope.clone()).or_default().push(key);
        Ok(())
    }
}

/// Takes out what a scope and its inner ones have.
fn take_within<T>(of: &RefCell<BTreeMap<Scope, Vec<T>>>, outer: &Scope) -> Vec<T> {
    let of = &mut *of.borrow_mut();
    let inner: Vec<Scope> = {
        let inner = of.range(outer.clone()..).map(|(scope, _)| scope);
        let inner = inner.take_while(|scope| scope.is_within(outer));
        inner.cloned().collect()
    };
    let taken = inner.iter().filter_map(|scope| of.remove(scope));
    taken.flatten().collect()
}

impl Handle {
    fn value(&self) -> Option<MetricValue> {
        Some(match self {
            Handle::Counter(counter) => MetricValue::Counter(counter.get()),
            Handle::Float(gauge) => MetricValue::Gauge(gauge.get().to_f64()),
            Handle::Whole(gauge) => MetricValue::Gauge(gauge.get().to_f64()),
            Handle::Meter(meter) => MetricValue::Meter {
                rate: meter.rate(),
                count: meter.count(),
            },
            Handle::Histogram(histogram) => MetricValue::Histogram(histogram.snapshot()),
            Handle::Count(read) => MetricValue::Counter(read()),
            Handle::Read(read) => MetricValue::Gauge(read()?),
            Handle::Rate(meter, unit) => MetricValue::Gauge(meter.rate() * unit),
            Handle::Last(value) => *value,
        })
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let metrics = self.list.entries.borrow().len();
        f.debug_struct("Registry")
            .field("scope", &self.scope)
            .field("metrics", &metrics)
            .finish()
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
