//! What panics is told and dropped; the rest goes on.

use std::sync::Arc;

use thalweg_core::shard::executor::TaskExit;
use thalweg_core::shard::in_work::OperatorName;
use thalweg_core::shard::panic::OperatorScope;

use crate::rig::{DONE, Exits, MADE, Rig, assert_all_done, end_after, step};

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("while dropped");
    }
}

pub(crate) fn a_panic_ends_its_task_only(rig: &dyn Rig) {
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    rig.run_shard(move |shard| {
        end_after(shard, 4, &told);
        shard.add_step(step("panics", |_| {
            let parse = OperatorName::alone("parse");
            let scope = OperatorScope::enter(&parse);
            assert!(std::hint::black_box(false), "bad record {}", 7);
            scope.leave();
            Ok(MADE)
        }));
        let bomb = Bomb;
        shard.add_step(step("bomb", move |_| {
            let _held = &bomb;
            Ok(DONE)
        }));
        shard.add_step(step("fails", |_| Err("no more".into())));
        let mut left = 100;
        shard.add_step(step("goes on", move |_| {
            left -= 1;
            Ok(if left == 0 { DONE } else { MADE })
        }));
    });
    let exits = exits.lock().unwrap();
    let TaskExit::Failed {
        name,
        message,
        panicked,
        operator,
        ..
    } = &exits[0]
    else {
        panic!("{exits:?}")
    };
    assert_eq!(
        (name.as_str(), *panicked, operator.as_deref()),
        ("panics", true, Some("parse"))
    );
    assert!(message.starts_with("bad record 7 (at "), "{message}");
    assert!(message.contains("isolation.rs"), "{message}");
    assert!(matches!(&exits[1], TaskExit::Done { .. }), "{exits:?}");
    let TaskExit::Failed {
        name,
        message,
        panicked,
        operator,
        ..
    } = &exits[2]
    else {
        panic!("{exits:?}")
    };
    assert_eq!((name.as_str(), message.as_str()), ("fails", "no more"));
    assert_eq!((*panicked, operator), (false, &None));
    assert!(matches!(&exits[3], TaskExit::Done { .. }), "{exits:?}");
}

pub(crate) fn a_panicking_command_does_not_end_the_shard(rig: &dyn Rig) {
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    rig.run_shard(move |shard| {
        end_after(shard, 1, &told);
        shard
            .mailbox()
            .send(Box::new(|_| panic!("a command")))
            .unwrap();
        let mut left = 10;
        shard.add_step(step("goes on", move |_| {
            left -= 1;
            Ok(if left == 0 { DONE } else { MADE })
        }));
    });
    assert_all_done(&exits);
}
