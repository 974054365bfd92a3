//! What is thrown at what file sinks keep in checkpoints: by the fuzzer, and by a test that changes what was well
//! written.

use thalweg_dataflow::sink::Committable;

use super::leftovers::WriterState;
use super::pending::Pending;

/// Any bytes as a file that waits to be committed, and as what a writer remembers: what is read is written as the same
/// bytes.
pub fn file_sink(bytes: &[u8]) {
    let prepared = Committable(bytes.to_vec());
    if let Some(pending) = Pending::decode(&prepared) {
        assert_eq!(pending.encode(), prepared);
    }
    if let Some(state) = WriterState::decode(bytes) {
        assert_eq!(state.encode(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::each_mutant;

    #[test]
    fn what_file_sinks_keep_is_read_exactly_or_refused() {
        let pending = Pending {
            pending: "/out/.part-1.inprogress".into(),
            last: "/out/part-1".into(),
            len: 1_234,
        };
        let state = WriterState {
            mark: 77,
            subtask: 3,
            next: 12,
        };
        let seeds = [pending.encode().0, state.encode()];
        each_mutant(&seeds, 4_000, file_sink);
    }
}
