//! Metrics as Prometheus reads them.
//!
//! Counting is the business of the shards; this is the form. Metrics of the engine are called as the
//! vocabulary says and multiplied into base units; those of users keep their names behind a prefix.
//! Invariants: a name has one type and is told once; labels and help texts are escaped. Any thread.

use std::collections::BTreeMap;

use prometheus::proto::{
    Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary,
};
use prometheus::{TEXT_FORMAT, TextEncoder};
use thalweg_core::metrics::vocabulary::{self, Kind};
use thalweg_core::metrics::{HistogramSnapshot, MetricSnapshot, MetricValue};

/// What stands before the names of users' metrics.
const USER_PREFIX: &str = "thalweg_operator_user_";

/// What the text below calls itself in a response.
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// Why metrics could not be written.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be written as text: {0}")]
pub struct TextError(#[from] prometheus::Error);

/// The metrics in Prometheus' text format.
///
/// # Errors
/// What the encoder refuses; a defect of the engine.
///
/// ```
/// use thalweg_core::metrics::{Registry, Scope, vocabulary};
/// let registry = Registry::new(Scope::root().with("task", "map"));
/// registry.count(vocabulary::NUM_RECORDS_IN, || 7).unwrap();
/// let text = thalweg_cluster::rest::metrics::text(&registry.snapshot(0)).unwrap();
/// assert!(text.contains("thalweg_task_records_in_total{task=\"map\"} 7\n"));
/// ```
pub fn text(metrics: &[MetricSnapshot]) -> Result<String, TextError> {
    let mut families = Families::default();
    metrics.iter().for_each(|metric| families.add(metric));
    let families: Vec<MetricFamily> = families.0.into_values().collect();
    Ok(TextEncoder::new().encode_to_string(&families)?)
}

/// By name.
#[derive(Default)]
struct Families(BTreeMap<String, MetricFamily>);

impl Families {
    fn add(&mut self, metric: &MetricSnapshot) {
        let definition = match metric.user {
            true => None,
            false => vocabulary::find(&metric.name),
        };
        let (name, factor) = match definition {
            Some(definition) => (definition.prometheus.to_owned(), definition.factor),
            None => (format!("{USER_PREFIX}{}", metric.name), 1.0),
        };
        match metric.value {
            MetricValue::Counter(count) => {
                let name = match definition {
                    Some(_) => name,
                    None => format!("{name}_total"),
                };
                debug_assert!(definition.is_none_or(|known| known.kind == Kind::Counter));
                self.put(name, metric, counter(count as f64 * factor));
            }
            MetricValue::Gauge(level) => self.put(name, metric, gauge(level * factor)),
            MetricValue::Meter { rate, count } => {
                self.put(format!("{name}_total"), metric, counter(count as f64));
                self.put(format!("{name}_per_second"), metric, gauge(rate));
            }
            MetricValue::Histogram(spread) => self.put(name, metric, summary(&spread, factor)),
        }
    }

    /// Adds a sample to the family of its name; one of another type gets a name of its own.
    fn put(&mut self, name: String, of: &MetricSnapshot, (kind, mut sample): (MetricType, Metric)) {
        sample.set_label(labels(of));
        let name = match self.0.get(&name) {
            Some(other) if other.get_field_type() != kind => {
                format!("{name}_{kind:?}").to_lowercase()
            }
            _ => name,
        };
        let family = self.0.entry(name).or_insert_with_key(|name| {
            let mut family = MetricFamily::default();
            family.set_name(name.clone());
            family.set_help(of.help.to_string());
            family.set_field_type(kind);
            family
        });
        family.mut_metric().push(sample);
    }
}

fn labels(of: &MetricSnapshot) -> Vec<LabelPair> {
    let pair = |(name, value): &(&'static str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.clone());
        pair
    };
    of.scope.labels().iter().map(pair).collect()
}

fn counter(value: f64) -> (MetricType, Metric) {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    (MetricType::COUNTER, metric)
}

fn gauge(value: f64) -> (MetricType, Metric) {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    (MetricType::GAUGE, Metric::from_gauge(gauge))
}

fn summary(spread: &HistogramSnapshot, factor: f64) -> (MetricType, Metric) {
    let quantiles = [
        (0.5, spread.p50),
        (0.95, spread.p95),
        (0.99, spread.p99),
        (0.999, spread.p999),
    ];
    let quantiles = quantiles.map(|(part, value)| {
        let mut quantile = Quantile::default();
        quantile.set_quantile(part);
        quantile.set_value(value as f64 * factor);
        quantile
    });
    let mut summary = Summary::default();
    summary.set_quantile(quantiles.into());
    summary.set_sample_count(spread.count);
    summary.set_sample_sum(spread.mean * spread.count as f64 * factor);
    let mut metric = Metric::default();
    metric.set_summary(summary);
    (MetricType::SUMMARY, metric)
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
