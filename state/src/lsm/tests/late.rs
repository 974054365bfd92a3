//! Tables that are to be in memory as a whole and are taken back while they are at work: what a record finds, and what
//! is in memory in the end, is what it would be had all been there before; cuts begun meanwhile wait, and are right.

use super::*;
use crate::snapshot::Adopts;

impl Program {
    /// A program whose table is all in memory, and comes back late from copies of any size.
    fn late(
        drawn: (u64, u64, usize),
        groups: Range<u16>,
        manager: &IoManager,
        left: Rc<RefCell<Left>>,
    ) -> Program {
        let budget = Budget::new("slot", 1 << 30);
        let reading = IoManager::new(
            thalweg_memory::SpillSpace::for_reading(),
            thalweg_core::ShardId(0),
        );
        let table = KeyedTable::new(groups.clone(), MaxParallelism::default(), budget.clone());
        let restoring = Restoring::new(groups.clone(), 1, budget.clone(), reading.queue(8));
        let table = LayeredTable::new(table.unwrap(), None);
        Program {
            table: table.coming_back_by(Some(Box::new(restoring))),
            ..Program::of_slot(&budget, drawn, groups, manager, left)
        }
    }
}

/// A copy of state far larger than memory, of several runs.
fn copied(seed: u64, keys: u64) -> (Simulation, IoManager, Copy) {
    // Where answers come late, entries have often come another way before that.
    let options = SimOptions {
        max_latency_ns: if seed % 4 < 2 { 3_000_000 } else { 1_000 },
        ..SimOptions::default()
    };
    let (mut simulation, manager) = spilling(seed, options);
    let left = Rc::new(RefCell::new(Left::default()));
    let program = Program::new((seed, keys, 4_000), 0..128, &manager, left);
    let left = run(&mut simulation, program).unwrap();
    let copy = left.copies.last().unwrap().clone();
    (simulation, manager, copy)
}

#[test]
fn all_comes_back_while_records_are_applied_and_cuts_begun_meanwhile_are_right() {
    let (mut meanwhile, mut cuts) = (0, 0);
    for seed in 0..9 {
        let (mut simulation, manager, copy) = copied(seed, 80_000);
        for (number, ends) in ends_of_groups(seed).windows(2).enumerate() {
            let groups = ends[0]..ends[1];
            let left = Rc::new(RefCell::new(Left::default()));
            let draws = (seed * 100 + number as u64, 80_000, 1_500);
            let mut program = Program::late(draws, groups.clone(), &manager, left);
            assert_eq!(program.table.adopts(1), Adopts::RunsForNow);
            program.adopt(&copy, &simulation, seed % 2 == 0);
            // The first barrier comes before anything is back.
            program.freeze().unwrap();
            let left = run(&mut simulation, program).unwrap();
            assert!(left.ended, "seed {seed} hangs");
            assert!(left.entries == left.model, "seed {seed}, groups {groups:?}");
            meanwhile += left.meanwhile;
            cuts += left.copies.len();
            for later in &left.copies {
                let mut says = read(&simulation, later);
                let max = MaxParallelism::default();
                says.retain(|key, _| groups.contains(&max.key_group(hash(*key)).0));
                assert!(says == later.was, "seed {seed}, groups {groups:?}");
            }
        }
    }
    assert!(meanwhile > 100, "{meanwhile} turns meanwhile");
    assert!(cuts > 20, "{cuts} cuts");
}

#[test]
fn a_copy_that_may_not_fit_or_is_small_is_taken_back_before() {
    let (_, manager) = simulation(0, DiskFaults::NONE);
    let left = Rc::new(RefCell::new(Left::default()));
    let program = Program::late((0, 10, 1), 0..128, &manager, left);
    assert_eq!(program.table.adopts(0), Adopts::Rows);
    assert_eq!(program.table.adopts(1), Adopts::RunsForNow);
    assert!(program.table.has_room_for(1_000, 1 << 40));
    assert!(!program.table.has_room_for(1 << 26, 0));
}
