//! One suite for all drivers: what a shard promises holds on io_uring, on epoll and in simulation.
//!
//! `default_driver` takes what the host allows and runs once more in a child process under a filter
//! that denies io_uring, where it has to come out on epoll.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test does not expect may panic, in its tools as well"
)]

mod directories;
mod files;
mod isolation;
mod rig;
mod sockets;
mod waking;

macro_rules! suite {
    ($driver:ident, $rig:expr) => {
        mod $driver {
            use crate::rig::Rig;

            suite!(@tests $rig,
                waking::tasks_are_woken_across_shards_through_lanes,
                waking::ten_thousand_ping_pongs_lose_no_wake_up,
                waking::timers_fire_in_order_and_never_early,
                waking::commands_run_once_and_in_order,
                waking::idle_tasks_get_no_turns,
                waking::a_parked_shard_is_shut_down,
                waking::budgets_expire,
                isolation::a_panic_ends_its_task_only,
                isolation::a_panicking_command_does_not_end_the_shard,
                files::a_file_is_written_synced_renamed_and_read,
                files::a_file_is_read_past_the_page_cache,
                files::failures_are_told_with_the_buffer,
                files::many_operations_at_once,
                files::a_shutdown_with_files_in_flight_ends,
                directories::directories_are_made_and_listed,
                sockets::a_megabyte_is_echoed,
                sockets::sockets_move_beside_a_busy_task,
                sockets::a_refused_connection_is_told,
                sockets::a_closed_socket_ends_its_operations,
                sockets::a_shutdown_with_sockets_in_flight_ends,
                sockets::a_cancelled_accept_answers_nothing,
                sockets::wake_ups_beside_a_socket_that_comes_and_goes,
            );
        }
    };
    (@tests $rig:expr, $($room:ident::$test:ident,)*) => {
        $(#[test]
        fn $test() {
            let rig: &dyn Rig = &$rig;
            crate::$room::$test(rig);
        })*
    };
}

suite!(default_driver, crate::rig::Threads::default_driver());
suite!(epoll, crate::rig::Threads::epoll());
suite!(simulated, crate::rig::Simulated::new());

/// Set in the child process that has io_uring denied.
const DENIED: &str = "THALWEG_TEST_IO_URING_DENIED";

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a filter holds for the thread that sets it"
)]
fn the_default_driver_passes_where_io_uring_is_denied() {
    // The filter holds for the thread that sets it and for what that thread starts: the child.
    let child = std::thread::Builder::new()
        .spawn(|| {
            thalweg_core::seam::seccomp::forbid_io_uring_for_tests().unwrap();
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["default_driver::", "--test-threads=2"])
                .env(DENIED, "1")
                .output()
                .unwrap()
        })
        .unwrap()
        .join()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(said.contains("22 passed"), "{said}");
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a filter holds for the thread that sets it"
)]
fn io_uring_on_demand_is_refused_where_it_is_denied() {
    use thalweg_core::ShardId;
    use thalweg_core::seam::reactor::DriverChoice;
    use thalweg_core::shard::start::{ShardConfig, start};
    let refused = std::thread::Builder::new()
        .spawn(|| {
            thalweg_core::seam::seccomp::forbid_io_uring_for_tests().unwrap();
            let config = ShardConfig {
                driver: DriverChoice::IoUring,
                ..ShardConfig::new(ShardId(0))
            };
            start(config, |_| ()).map(|_| ()).unwrap_err()
        })
        .unwrap()
        .join()
        .unwrap();
    assert!(refused.to_string().contains("io_uring_setup"), "{refused}");
}

#[test]
fn a_panicking_init_is_an_error_of_start() {
    use thalweg_core::ShardId;
    use thalweg_core::shard::start::{ShardConfig, start};
    let failed = start(ShardConfig::new(ShardId(0)), |_| panic!("no"))
        .map(|_| ())
        .unwrap_err();
    assert!(failed.to_string().contains("init panicked"), "{failed}");
}

#[test]
fn a_shard_runs_nothing_before_it_is_told_to_go() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use thalweg_core::ShardId;
    use thalweg_core::seam::reactor::DriverChoice;
    use thalweg_core::shard::start::{ReadyShard, ShardConfig, prepare};
    for driver in [DriverChoice::Auto, DriverChoice::Epoll] {
        let ready = |ran: &Arc<AtomicBool>| -> ReadyShard {
            let ran = Arc::clone(ran);
            let config = ShardConfig {
                driver,
                ..ShardConfig::new(ShardId(0))
            };
            let init = move |shard: &mut thalweg_core::shard::executor::Shard| {
                shard.add_step(rig::step("notes", move |_| {
                    ran.store(true, Ordering::SeqCst);
                    Ok(rig::DONE)
                }));
            };
            prepare(config, init).unwrap().ready().unwrap()
        };
        let ran = Arc::new(AtomicBool::new(false));
        ready(&ran).abandon().join().unwrap();
        assert!(!ran.load(Ordering::SeqCst), "{driver:?}");
        let handle = ready(&ran).go();
        while !ran.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        handle.stop();
        handle.join().unwrap();
    }
}

#[test]
fn shards_are_made_at_the_same_time() {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;
    use thalweg_core::ShardId;
    use thalweg_core::shard::start::{ShardConfig, prepare};
    let (say, hear) = sync_channel::<()>(1);
    let waiting = prepare(ShardConfig::new(ShardId(0)), move |_| {
        hear.recv_timeout(Duration::from_secs(60)).unwrap();
    });
    let saying = prepare(ShardConfig::new(ShardId(1)), move |_| say.send(()).unwrap());
    for shard in [waiting, saying] {
        shard.unwrap().ready().unwrap().abandon().join().unwrap();
    }
}

#[test]
fn a_turn_that_stalls_is_counted() {
    use std::sync::Arc;
    use thalweg_core::ShardId;
    use thalweg_core::shard::start::{ShardConfig, start};
    let config = ShardConfig {
        stall_threshold_ns: 4_000_000,
        ..ShardConfig::new(ShardId(0))
    };
    let (report, counted) = std::sync::mpsc::sync_channel(1);
    let handle = start(config, move |shard| {
        let pulse = Arc::clone(shard.pulse());
        shard.add_step(rig::step("stalls", move |cx| {
            let give_up = cx.now() + 20_000_000_000;
            while pulse.stalls() == 0 && cx.reactor().now() < give_up {
                std::thread::yield_now();
            }
            report.send(pulse.stalls())?;
            Ok(rig::DONE)
        }));
    })
    .unwrap();
    assert_eq!(counted.recv().unwrap(), 1);
    handle.stop();
    handle.join().unwrap();
}

mod simulation {
    use thalweg_core::seam::simulated::{SimOptions, SimOutcome, Simulation};

    use crate::{rig, waking};

    fn hash_of(seed: u64) -> u64 {
        let mut simulation = Simulation::new(seed, SimOptions::default());
        for (doorbell, init) in waking::ping_pong(100).0 {
            simulation.add_shard_with(doorbell, init);
        }
        assert_eq!(simulation.run(1_000_000), SimOutcome::Finished);
        simulation.trace_hash()
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        for seed in 0..20 {
            assert_eq!(hash_of(seed), hash_of(seed));
        }
        assert_ne!(hash_of(1), hash_of(2));
    }

    #[test]
    fn a_hang_is_told_as_such() {
        let mut simulation = Simulation::new(1, SimOptions::default());
        let mailbox = simulation.add_shard(|shard| {
            shard.add_step(rig::step("idle", |_| Ok(rig::NONE)));
            shard.mailbox()
        });
        assert_eq!(simulation.run(1_000), SimOutcome::Quiescent);
        mailbox
            .send(Box::new(thalweg_core::shard::executor::Shard::shutdown))
            .unwrap();
        assert_eq!(simulation.run(1_000), SimOutcome::Finished);
    }

    #[test]
    fn a_crash_keeps_what_was_synced_only() {
        let mut lost = 0;
        for seed in 0..50 {
            let mut simulation = Simulation::new(seed, SimOptions::default());
            let directory = std::path::Path::new("/sim");
            simulation.disk().make_directory(directory).unwrap();
            let root = std::path::Path::new("/");
            simulation.disk().sync_directory(root).unwrap();
            simulation.add_shard(crate::files::write_two_halves);
            assert_eq!(simulation.run(100_000), SimOutcome::Quiescent);
            simulation.crash();
            let file = simulation
                .disk()
                .content(&directory.join("halves"))
                .unwrap();
            assert_eq!(file[..4096], [1; 4096]);
            lost += usize::from(file.len() < 8192 || file[4096..] != [2; 4096]);
        }
        assert!(lost > 25, "{lost}");
    }
}
