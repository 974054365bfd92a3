//! Power is lost before every single operation of a job that takes checkpoints: what is found after that is the
//! newest that was answered, or the one after it, whole; and the job goes on from there.

use super::*;
use crate::checkpoint::storage::simulated::Survival;

const SURVIVALS: [Survival; 7] = [
    Survival::Nothing,
    Survival::Everything,
    Survival::Names,
    Survival::Content,
    Survival::Drawn(11),
    Survival::Drawn(12),
    Survival::Drawn(13),
];

/// Takes checkpoints and a savepoint, and stops by another, until power is gone.
fn work(rig: &mut Rig) {
    let place = |name| Location::parse(&format!("/savepoints/{name}")).unwrap();
    for round in 0..4 {
        if round == 2 {
            let directory = place("savepoint-1");
            want(rig, 1, Wanted::Savepoint { directory });
        }
        rig.checkpoint();
        if rig.storage.disk().is_off() {
            return;
        }
    }
    let (directory, drain) = (place("savepoint-2"), false);
    want(rig, 2, Wanted::Stop { directory, drain });
}

/// What somebody asks for is begun and answered by all tasks.
fn want(rig: &mut Rig, request: u64, wanted: Wanted) {
    let request = RequestId(request);
    rig.step(Input::Wanted { request, wanted });
    let (savepoint, kind, _) = rig.triggered();
    rig.answer(0, savepoint, kind);
    rig.answer(1, savepoint, kind);
}

/// All that was committed: the checkpoints, and the savepoint to stop with.
fn committed(rig: &Rig) -> Option<CheckpointId> {
    let committed = rig.seen.iter().filter_map(|output| match output {
        Output::Complete { completed, commit } if !commit.is_empty() => {
            Some(completed.metadata.checkpoint)
        }
        _ => None,
    });
    committed.max()
}

/// Lets a job work until power is lost before an operation, and checks what is found after that. False if there
/// was no such operation.
fn cut(before: u64, survival: Survival, settings: &CheckpointSettings) -> bool {
    let when = format!("{survival:?}, cut before {before}");
    let disk = SimulatedDisk::new();
    disk.cut_before(before);
    let (mut storage, newest, highest, savepoints, happened) =
        match Rig::try_still(settings, 2, DirectoryStorage::on(disk), None) {
            Err(storage) => (*storage, None, None, Vec::new(), true),
            Ok(mut rig) => {
                rig.run();
                work(&mut rig);
                let answers = rig.answers().into_iter();
                let savepoints: Vec<Completed> =
                    answers.filter_map(|(_, answer)| answer.ok()).collect();
                let newest = committed(&rig);
                let highest = Some(rig.triggered().0);
                let happened = rig.storage.disk().is_off();
                (rig.storage, newest, highest, savepoints, happened)
            }
        };
    storage.disk().crash(survival);
    for savepoint in &savepoints {
        let found =
            crate::checkpoint::home::find::read(&mut storage, &savepoint.directory).expect(&when);
        assert_eq!(found.metadata, *savepoint.metadata, "{when}");
        assert_whole(&mut storage, &found.metadata, &found.runs, &when);
    }
    let mut rig = Rig::still(settings, 2, storage, None);
    let point = rig.coordinator.restore_point();
    let found = point.as_ref().map(|point| point.metadata.checkpoint);
    assert!(
        found >= newest,
        "{when}: {found:?} is older than {newest:?}, which was answered"
    );
    assert!(found <= highest, "{when}: {found:?} was never started");
    if let Some(point) = point {
        assert_whole(&mut rig.storage, &point.metadata, &point.runs, &when);
    }
    // The job goes on, and nothing is left of what was cut.
    rig.run();
    let next = rig.checkpoint();
    assert_eq!(rig.completed(), [next], "{when}");
    assert!(Some(next) > found, "{when}");
    let kept: Vec<Arc<CheckpointMetadata>> = rig.coordinator.kept().cloned().collect();
    let needed: BTreeSet<String> = (kept.iter())
        .flat_map(|kept| kept.files().into_keys().map(str::to_owned))
        .collect();
    assert_eq!(rig.shared_names(), needed, "{when}");
    let home = rig.home_names();
    assert_eq!(home.len(), kept.len() + 2, "{when}: {home:?}");
    happened
}

#[test]
fn a_cut_anywhere_leaves_the_old_or_the_new_one_whole() {
    for retained in [1, 2] {
        let settings = settings(|settings| {
            settings.retained = retained;
            settings.tolerable_failures = 100;
        });
        for survival in SURVIVALS {
            for before in 0.. {
                if !cut(before, survival, &settings) {
                    assert!(before > 100, "the job did something");
                    break;
                }
            }
        }
    }
}
