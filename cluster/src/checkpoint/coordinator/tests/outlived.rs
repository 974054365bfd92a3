//! What newer checkpoints have made needless goes when no checkpoint has to wait for that.

use super::*;

fn rig(change: impl FnOnce(&mut CheckpointSettings)) -> Rig {
    Rig::start(
        &settings(change),
        1,
        DirectoryStorage::on(SimulatedDisk::new()),
    )
}

/// The checkpoint under way is answered so late that the next one is due.
fn answer_late(rig: &mut Rig) -> CheckpointId {
    let (checkpoint, kind, _) = rig.triggered();
    rig.pass(150);
    rig.answer(0, checkpoint, kind);
    checkpoint
}

/// The checkpoint under way is answered; answers the checkpoints that are started by that, and the directories that are
/// deleted, in their order.
fn answer_and_watch(rig: &mut Rig, checkpoint: CheckpointId, kind: CutKind) -> Vec<String> {
    let attempt = rig.attempt;
    let snapshot = rig.answer_of(0, checkpoint, kind);
    let receipt = Input::Receipt { attempt, snapshot };
    let mut line: VecDeque<Output> = rig.coordinator.step(receipt, rig.now).into();
    let mut order = Vec::new();
    while let Some(output) = line.pop_front() {
        match output {
            Output::Trigger { checkpoint, .. } => order.push(checkpoint.to_string()),
            Output::Store { ticket, command } => {
                if let StorageCommand::DeleteDirectory(directory) = &command {
                    order.push(directory.to_string());
                }
                let outcome = perform(&mut rig.storage, &command);
                let stored = Input::Stored { ticket, outcome };
                line.extend(rig.coordinator.step(stored, rig.now));
            }
            output => rig.seen.push(output),
        }
    }
    order
}

fn directories(rig: &mut Rig) -> Vec<String> {
    let mut names = rig.home_names();
    names.retain(|name| name.starts_with("chk-"));
    names.sort();
    names
}

#[test]
fn the_next_checkpoint_is_not_kept_waiting_by_what_the_last_made_needless() {
    let mut rig = rig(|_| {});
    rig.checkpoint();
    rig.pass(100);
    assert_eq!(answer_late(&mut rig), CheckpointId(2));
    assert_eq!(rig.completed().last(), Some(&CheckpointId(2)));
    let (third, kind, _) = rig.triggered();
    assert_eq!(third, CheckpointId(3), "due when the second was true");
    assert_eq!(directories(&mut rig), ["chk-1", "chk-2"]);
    rig.answer(0, third, kind);
    assert_eq!(directories(&mut rig), ["chk-3"], "nothing is under way");
}

#[test]
fn what_has_waited_for_a_whole_checkpoint_goes_though_the_next_is_under_way_and_after_it_was_told()
{
    let mut rig = rig(|_| {});
    rig.checkpoint();
    rig.pass(100);
    answer_late(&mut rig);
    let (third, kind, _) = rig.triggered();
    rig.pass(150);
    let order = answer_and_watch(&mut rig, third, kind);
    let [told, deleted] = &order[..] else {
        panic!("{order:?}")
    };
    assert_eq!(*told, CheckpointId(4).to_string());
    assert!(deleted.ends_with("chk-1"), "{deleted}");
    assert_eq!(directories(&mut rig), ["chk-2", "chk-3"]);
}

#[test]
fn it_goes_when_the_checkpoint_under_way_is_given_up() {
    let mut rig = rig(|settings| settings.tolerable_failures = 1);
    rig.checkpoint();
    rig.pass(100);
    answer_late(&mut rig);
    assert_eq!(directories(&mut rig), ["chk-1", "chk-2"]);
    rig.restart();
    assert_eq!(directories(&mut rig), ["chk-2"]);
}

#[test]
fn who_leads_no_more_leaves_it_to_the_next_leader() {
    let mut rig = rig(|_| {});
    rig.checkpoint();
    rig.pass(100);
    answer_late(&mut rig);
    let (third, kind, _) = rig.triggered();
    let mut next = Rig::start(&settings(|_| {}), 1, rig.storage.clone());
    let order = answer_and_watch(&mut rig, third, kind);
    assert_eq!(rig.job_failures().len(), 1, "it has been overtaken");
    assert_eq!(order, Vec::<String>::new());
    next.checkpoint();
    assert_eq!(directories(&mut next).len(), 1);
}
