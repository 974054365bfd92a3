//! Runs a piece of a program in a test: feed records, advance event time and processing time, read
//! output.
//!
//! The operators under test are the real ones, deployed as one subtask per vertex on one
//! simulated shard: time is virtual and stands still unless the test moves it, the order of events
//! follows from a seed, and nothing touches the outside. No thread is started.
//!
//! ```
//! use thalweg_dataflow::harness::TestHarness;
//!
//! let mut harness = TestHarness::<u64, u64>::new(|numbers| numbers.map(|n| n * 2));
//! harness.push(1);
//! harness.push(2);
//! assert_eq!(harness.output(), vec![2, 4]);
//! ```
//!
//! [`TwoInputHarness`] does the same for what reads two streams.

mod ends;
mod rig;
mod single;
mod two_inputs;

pub use ends::{HarnessReader, HarnessSource};
pub use single::TestHarness;
pub use two_inputs::TwoInputHarness;
