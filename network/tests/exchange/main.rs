//! The exchange between tasks of several shards: nothing lost, nothing stuck, nothing leaked, whatever
//! the order in which the shards run.

mod flow;
mod harness;
mod rules;
