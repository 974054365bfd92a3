//! Which subtasks of two vertices are joined by a channel.

use std::ops::Range;

/// The shape of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgePattern {
    /// Subtask i to subtask i; both sides have the same parallelism.
    Forward,
    /// Each producer to its share of the consumers, or each consumer from its share of the
    /// producers: no channel crosses the groups.
    Pointwise,
    /// Every producer to every consumer.
    AllToAll,
}

impl EdgePattern {
    /// The consumers that producer `index` of `producers` has channels to, of `consumers`.
    ///
    /// ```
    /// use thalweg_dataflow::partition::EdgePattern;
    /// assert_eq!(EdgePattern::Pointwise.consumers_of(1, 2, 5), 2..5);
    /// assert_eq!(EdgePattern::Pointwise.consumers_of(3, 4, 2), 1..2);
    /// ```
    pub fn consumers_of(self, index: u32, producers: u32, consumers: u32) -> Range<u32> {
        debug_assert!(index < producers && consumers > 0);
        match self {
            Self::Forward => index..index + 1,
            Self::AllToAll => 0..consumers,
            Self::Pointwise if consumers >= producers => {
                index * consumers / producers..(index + 1) * consumers / producers
            }
            Self::Pointwise => {
                let consumer = index * consumers / producers;
                consumer..consumer + 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::EdgePattern::{AllToAll, Pointwise};

    #[test]
    fn pointwise_reaches_every_consumer_and_uses_every_producer() {
        for producers in 1..12u32 {
            for consumers in 1..12u32 {
                let mut reached = vec![0; consumers as usize];
                for index in 0..producers {
                    let range = Pointwise.consumers_of(index, producers, consumers);
                    assert!(!range.is_empty(), "{index} of {producers} to {consumers}");
                    range.for_each(|c| reached[c as usize] += 1);
                    assert_eq!(
                        AllToAll.consumers_of(index, producers, consumers).len() as u32,
                        consumers
                    );
                }
                assert!(
                    reached.iter().all(|n| *n > 0),
                    "{producers} to {consumers}: {reached:?}"
                );
            }
        }
    }
}
