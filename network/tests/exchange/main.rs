//! The exchange between tasks of several shards: nothing lost, nothing stuck, nothing leaked, whatever
//! the order in which the shards run.

#[cfg(test)]
mod flow;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod overtaking;
#[cfg(test)]
mod rules;
