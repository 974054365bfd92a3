//! Drawn histories of one job under several leaders, of which each believes that it leads it, on a disk that errs: what
//! one of them has committed is in what every later one begins with, and nobody is locked out.

use proptest::prelude::*;

use super::two_leaders::receipt;
use super::*;
use crate::checkpoint::home::find::{FindError, find};
use crate::checkpoint::protocol::JobEnd;
use crate::checkpoint::storage::simulated::Fault;

#[derive(Clone, Debug)]
enum Act {
    /// Another process takes the job over.
    TakesOver,
    /// One of the leaders completes a checkpoint, or thinks so.
    Checkpoint(usize),
    /// One of them takes a savepoint; stops by it, if so.
    Savepoint(usize, bool),
    /// The tasks of one of them fail and begin again.
    Restart(usize),
    /// One of them dies.
    Dies(usize),
    /// One of them brings the job to its end, or thinks so.
    Ends(usize),
    /// Storage fails an operation soon.
    Fault(u64, bool),
}

fn act() -> impl Strategy<Value = Act> {
    let leader = || 0..4_usize;
    prop_oneof![
        3 => Just(Act::TakesOver),
        6 => leader().prop_map(Act::Checkpoint),
        2 => (leader(), any::<bool>()).prop_map(|(of, stops)| Act::Savepoint(of, stops)),
        1 => leader().prop_map(Act::Restart),
        1 => leader().prop_map(Act::Dies),
        1 => leader().prop_map(Act::Ends),
        3 => (0..20_u64, any::<bool>()).prop_map(|(after, full)| Act::Fault(after, full)),
    ]
}

/// One of those who believe that they lead the job.
struct Leader {
    rig: Rig,
    /// How many outputs were looked at.
    looked: usize,
    /// It knows that it leads the job no more, or is done with it.
    over: bool,
}

/// The job, as somebody sees it who sees everything.
struct History {
    storage: Storage,
    leaders: Vec<Leader>,
    /// The newest of all that was committed.
    committed: Option<CheckpointId>,
    /// What the newest leader began with.
    began: Option<CheckpointId>,
    savepoints: u64,
    /// It has ended: whoever begins it anew gives it another id, and so another place.
    is_over: bool,
}

fn tolerant() -> CheckpointSettings {
    settings(|settings| settings.tolerable_failures = 100)
}

impl History {
    fn new() -> History {
        History {
            storage: DirectoryStorage::on(SimulatedDisk::new()),
            leaders: Vec::new(),
            committed: None,
            began: None,
            savepoints: 0,
            is_over: false,
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::TakesOver => {
                if !self.is_over {
                    self.takes_over();
                }
            }
            Act::Checkpoint(of) => self.with(of, |leader, _| leader.checkpoint()),
            Act::Savepoint(of, stops) => self.with(of, |leader, place| {
                leader.savepoint(place, stops);
            }),
            Act::Restart(of) => self.with(of, |leader, _| leader.rig.restart()),
            Act::Dies(of) => self.with(of, |leader, _| leader.over = true),
            Act::Ends(of) => self.ends(of),
            Act::Fault(after, full) => {
                let fault = if full { Fault::Full } else { Fault::Io };
                let operation = self.storage.disk().operations() + after;
                self.storage.disk().fail(operation, fault);
            }
        }
    }

    /// Where that was the leader, there is nothing more to go on from, and nobody who led before commits anything.
    fn ends(&mut self, of: usize) {
        self.with(of, |leader, _| {
            leader.rig.step(Input::Ended(JobEnd::Finished));
            leader.over = true;
        });
        self.storage.disk().mend();
        let home = JobLayout::new(&root(), JOB).home().clone();
        if let Err(FindError::Nothing(_)) = find(&mut self.storage, &home) {
            (self.committed, self.began) = (None, None);
            self.is_over |= self.leaders.last().is_some_and(|last| last.over);
        }
    }

    /// Whether it could.
    fn takes_over(&mut self) -> bool {
        let Ok(mut rig) = Rig::try_still(&tolerant(), 1, self.storage.clone(), None) else {
            return false;
        };
        let point = rig.coordinator.restore_point();
        self.began = point.map(|point| point.metadata.checkpoint);
        assert!(
            self.began >= self.committed,
            "{:?} was committed, and {:?} is gone on from",
            self.committed,
            self.began
        );
        rig.run();
        self.leaders.push(Leader {
            rig,
            looked: 0,
            over: false,
        });
        true
    }

    /// One of those that live acts; what it commits is looked at.
    fn with(&mut self, of: usize, act: impl FnOnce(&mut Leader, Location)) {
        let mut alive = (self.leaders.iter_mut()).filter(|leader| !leader.over);
        let Some(leader) = alive.nth(of) else {
            return;
        };
        self.savepoints += 1;
        let place = format!("/savepoints/{}", self.savepoints);
        act(leader, Location::parse(&place).unwrap());
        let newest = leader.look();
        let leads = std::ptr::eq(leader, self.leaders.last().expect("it is one of them"));
        if let Some(newest) = newest {
            assert!(
                leads || Some(newest) <= self.began,
                "{newest} was committed by one that leads no more; {:?} is gone on from",
                self.began
            );
            self.committed = self.committed.max(Some(newest));
        }
    }
}

impl Leader {
    fn checkpoint(&mut self) {
        self.rig.pass(100);
        let answer = receipt(&self.rig);
        self.rig.step(answer);
    }

    fn savepoint(&mut self, directory: Location, stops: bool) {
        let wanted = match stops {
            true => Wanted::Stop {
                directory,
                drain: false,
            },
            false => Wanted::Savepoint { directory },
        };
        let request = RequestId(1);
        self.rig.step(Input::Wanted { request, wanted });
        let answer = receipt(&self.rig);
        self.rig.step(answer);
    }

    /// Takes in what came out since the last time; answers the newest of what was committed.
    fn look(&mut self) -> Option<CheckpointId> {
        let (mut newest, mut fails) = (None, false);
        for output in &self.rig.seen[self.looked..] {
            match output {
                Output::Complete { completed, commit } if !commit.is_empty() => {
                    newest = newest.max(Some(completed.metadata.checkpoint));
                }
                Output::FailJob { then, .. } => {
                    fails = true;
                    self.over |= *then != AfterFailure::Restart;
                }
                _ => {}
            }
        }
        self.looked = self.rig.seen.len();
        if fails && !self.over {
            self.rig.restart();
        }
        newest
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_any_leader_commits_every_later_one_begins_with(
        acts in prop::collection::vec(act(), 1..40),
    ) {
        let mut history = History::new();
        history.takes_over();
        for act in &acts {
            history.act(act);
        }
        history.storage.disk().mend();
        if history.is_over {
            return Ok(());
        }
        prop_assert!(history.takes_over(), "nobody is locked out");
        let last = history.leaders.len() - 1;
        history.leaders[..last].iter_mut().for_each(|leader| leader.over = true);
        history.with(0, |leader, _| leader.checkpoint());
        let completed = history.leaders[last].rig.completed();
        prop_assert_eq!(completed.last().copied(), history.committed);
        prop_assert!(!completed.is_empty());
        history.with(0, |leader, _| leader.rig.step(Input::Ended(JobEnd::Finished)));
        prop_assert_eq!(history.leaders[last].rig.home_names(), [""; 0]);
    }
}
