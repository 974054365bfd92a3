//! Entries that come and go for long do not crowd: what is absent is soon known to be.

use std::cell::RefCell;
use std::rc::Rc;

use thalweg_core::seam::simulated::DiskFaults;

use super::{Left, Program, run, simulation};

#[test]
fn what_is_absent_is_soon_known_after_many_sweeps_in_small_and_large_tables() {
    for (bytes, keys) in [(128 << 10, 40_000), (256 << 10, 60_000), (1 << 20, 150_000)] {
        let (mut simulation, manager) = simulation(1, DiskFaults::NONE);
        let left = Rc::new(RefCell::new(Left::default()));
        let drawn = (2, keys, 5_000);
        let program = Program::with_budget(bytes, drawn, 0..128, &manager, left);
        let left = run(&mut simulation, program).unwrap();
        assert!(left.ended && left.reads > 1_000, "{} reads", left.reads);
        let searched = left.searched;
        assert!(searched < 8.0, "{searched} buckets with {bytes} bytes");
    }
}
