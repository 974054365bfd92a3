//! Entries that are forgotten wherever they are, among them some that are just being read: they do not come back, in
//! memory or in cuts.

use super::*;

impl Program {
    /// Forgets some entries, half of them such as are ahead; whether the disk keeps up.
    pub(super) fn forget(&mut self) -> bool {
        for nth in 0..self.forgets {
            if !self.table.may_forget() {
                return false;
            }
            let key = match nth % 2 {
                0 => self.draw_key(),
                _ => self.batch[self.draws.below(BATCH as u64) as usize],
            };
            let is_there = self.table.hot().get(hash(key), &key).is_some();
            let was_there = self.model.remove(&key).is_some();
            self.left.borrow_mut().forgotten += u64::from(was_there && !is_there);
            self.table.forget_in(hash(key), &key, &());
        }
        true
    }
}

#[test]
fn what_is_forgotten_on_disk_is_gone_and_so_it_is_in_cuts() {
    let mut forgotten = 0;
    for seed in 0..3 {
        let (mut simulation, manager) = simulation(seed, DiskFaults::NONE);
        let left = Rc::new(RefCell::new(Left::default()));
        let keys = [20_000, 60_000, 30_000][seed as usize];
        let mut program = Program::new((seed, keys, 4_000), 0..128, &manager, left);
        program.forgets = [1, 6, 3][seed as usize];
        let left = run(&mut simulation, program).unwrap();
        assert!(left.ended, "seed {seed} hangs");
        forgotten += left.forgotten;
        assert!(!left.copies.is_empty(), "seed {seed} was never cut");
        for copy in &left.copies {
            assert!(read(&simulation, copy) == copy.was, "seed {seed}");
        }
        let copy = left.copies.last().unwrap();
        let after = Rc::new(RefCell::new(Left::default()));
        let mut program = Program::new((seed + 9, keys, 800), 0..128, &manager, after);
        program.forgets = 2;
        program.adopt(copy, &simulation, seed == 1);
        let after = run(&mut simulation, program).unwrap();
        assert!(after.ended, "seed {seed} hangs when it has begun again");
    }
    assert!(forgotten > 2_000, "{forgotten} were forgotten on disk");
}
