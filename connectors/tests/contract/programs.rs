//! The methods of environments and streams: that programs compile as users write them.

use std::sync::Arc;

use thalweg_connectors::{
    Collects, CollectsText, FileProcessing, FileSink, Sinks, Sources, TextFile, TextFiles,
};
use thalweg_core::config::Configuration;
use thalweg_dataflow::executor::{Executor, JobError, JobResult};
use thalweg_dataflow::graph::Job;
use thalweg_dataflow::{DataStream, Environment, Pipe};
use thalweg_memory::record::Str;

struct PlanOnly;

impl Executor for PlanOnly {
    fn execute(&self, _: Job) -> Result<JobResult, JobError> {
        Err(JobError::PlanOnly)
    }
}

fn words<P: Pipe<Out = Str>>(
    lines: DataStream<Str, P>,
) -> DataStream<String, impl Pipe<Out = String>> {
    lines.map(|line: &str| line.to_owned())
}

#[test]
fn every_source_and_sink_is_a_method() {
    let env = Environment::with_executor(Arc::new(PlanOnly), Configuration::default());
    env.from_collection([("a".to_owned(), 1_u64)]).print();
    env.sequence(1..=10).print_debug();
    env.read_text("text").print();
    words(env.read_text("text")).write_text("out");
    env.generate(None, |i| (i, 1.5_f64))
        .print_with(|(i, _), out| out.push_str(&i.to_string()));
    env.generate(10, |i| i)
        .rebalance()
        .view()
        .print_with(|view, out| out.push_str(&view.to_native().to_string()));
    env.socket_text("localhost:1").write_socket("localhost:2");
    env.sequence(1..=2).for_each(|_| {});
    env.sequence(1..=2).discard().name("nothing");
    env.sequence(1..=2)
        .write_text_with("out", |i, out| out.push_str(&i.to_string()));
    env.sequence(1..=2).sink(TextFile::new("out").overwrite());
    env.monitor_text(TextFiles::new("text"), FileProcessing::Once)
        .print();
    let parts = FileSink::new("out").bucket_by(|(word, _): &(String, u64), bucket| {
        bucket.push_str(&word[..1]);
    });
    env.from_collection([("a".to_owned(), 1_u64)]).sink(parts);
    let numbers = env.sequence(1..=2).collect();
    let lines = env.read_text("text").collect();
    let lengths = env.read_text("text").collect_with(|line: &str| line.len());
    let plan = env.plan("all of them").unwrap();
    assert_eq!(
        plan.vertices.iter().filter(|vertex| vertex.sink).count(),
        16
    );
    let empty: (Vec<u64>, Vec<String>, Vec<usize>) = (numbers.take(), lines.take(), lengths.take());
    assert_eq!(empty, Default::default());
}
