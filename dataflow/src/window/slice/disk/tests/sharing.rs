//! Slices that nobody asks for anything give memory back when another state of their slot claims its share.

use std::cell::Cell;

use thalweg_memory::Share;

use super::*;

const SLOT: u64 = 8 << 20;
/// Turns in which records come; then the other claims its share, and the operator is not asked for anything.
const TURNS: u64 = 4_000;

struct Idle {
    operator: SliceOperator<u64, Pair, Sum, Plain>,
    budget: Budget,
    other: Share,
    turn: u64,
    /// Bytes in use when records have come, and now.
    used: Rc<Cell<(u64, u64)>>,
}

impl Idle {
    fn records(&mut self) -> Result<(), FunctionError> {
        if !self.operator.has_room(BATCH) {
            return Ok(());
        }
        for number in 0..BATCH as u64 {
            let pair = (self.turn * BATCH as u64 + number, 1);
            let at = Timestamp((pair.0 % 10 * 2_000) as i64);
            let hash = u64::hash(&pair.0);
            (self.operator).apply(hash, pair, at, &First, &mut Taken::default())?;
        }
        Ok(())
    }
}

impl Step for Idle {
    fn name(&self) -> &str {
        "idle"
    }

    fn turn(&mut self, context: &mut TurnContext<'_>) -> Result<Progress, StepError> {
        self.turn += 1;
        (self.operator.begin_state_turn(context)).map_err(|error| error.to_string())?;
        if self.turn < TURNS {
            self.records().map_err(|error| error.to_string())?;
            self.used.set((self.budget.used(), 0));
        }
        let ended = self.operator.end_state_turn(context, false);
        let pressure = ended.map_err(|error| error.to_string())?;
        if self.turn == TURNS {
            self.other.claims(true);
        }
        self.used.set((self.used.get().0, self.budget.used()));
        let made = self.turn < TURNS || pressure == Pressure::MakingRoom;
        Ok(Progress { made, done: false })
    }
}

#[test]
fn slices_nobody_asks_for_give_memory_back_when_another_claims_its_share() {
    let (mut simulation, manager) = simulation(3);
    let mut context = context(0, 1, SLOT).with_spill(manager);
    let open = OpenSlices {
        windows: shapes()[0],
        options: SliceOptions::default(),
        aggregate: Sum { inverse: false },
        voice: Plain,
    };
    let budget = context.budget().clone();
    let used = Rc::new(Cell::default());
    let idle = Idle {
        operator: OpenKeyed::<u64, Pair>::open(open, "windows", &mut context).unwrap(),
        other: budget.share(),
        budget,
        turn: 0,
        used: Rc::clone(&used),
    };
    simulation.add_shard(|shard| {
        shard.add_step(Box::new(idle));
    });
    assert_eq!(simulation.run(ROUNDS), SimOutcome::Quiescent);
    let (even, (then, now)) = (SLOT / 8 * 7 / 2, used.get());
    assert!(then > even, "{then} bytes: all the time it had {even}");
    assert!(now <= even, "{now} bytes of {even}");
}
