//! The park and wake protocol and the shutdown of a shard, run under every order shuttle can think of.
//!
//! The protocol is the very code of the doorbell (`ParkFlag`), on shuttle's atomics. The shard changes
//! between two beds, as the default driver does, each with a bell that stays rung until the bed is made
//! for the next sleep; the sleep is a condition variable in place of the kernel. A planted wrong order of each kind has to be found, or the
//! search proves nothing. Shuttle is sequentially consistent: it finds wrong orders, not weak memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test does not expect may panic, in its tools as well"
)]

use std::panic::catch_unwind;

use shuttle::rand::Rng;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;
use thalweg_core::shard::doorbell::{ParkFlag, SharedFlag};

const SCHEDULES: usize = 20_000;

struct ShuttleFlag(AtomicBool);

impl Default for ShuttleFlag {
    fn default() -> ShuttleFlag {
        ShuttleFlag(AtomicBool::new(false))
    }
}

impl SharedFlag for ShuttleFlag {
    fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn replace(&self, value: bool) -> bool {
        self.0.swap(value, Ordering::SeqCst)
    }

    fn fence() {}
}

/// How the protocol is broken on purpose.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// The consumer looks before it announces, not after.
    LooksTooEarly,
    /// The producer rings before it publishes.
    RingsTooEarly,
    /// The mailbox is not looked at again before the sleep.
    ForgetsMailbox,
    /// The bed is made, so its bell reset, after the announcement.
    MakesBedTooLate,
    /// The bed that is to be rung is told after the announcement.
    TellsBedTooLate,
}

/// One shard, as seen from outside: a lane's count, a mailbox with a wish to end, and a bell.
#[derive(Default)]
struct Model {
    flag: ParkFlag<ShuttleFlag>,
    lane: AtomicUsize,
    stop: AtomicBool,
    /// The bed whose bell is to be rung, until somebody has.
    told: Mutex<Option<usize>>,
    bells: Mutex<[bool; 2]>,
    rung: Condvar,
}

impl Model {
    fn ring(&self) {
        if self.flag.claim_wake() {
            let told = self.told.lock().unwrap().take();
            if let Some(bed) = told {
                self.bells.lock().unwrap()[bed] = true;
                self.rung.notify_one();
            }
        }
    }

    fn send(&self, planted: Planted) {
        if planted == Planted::RingsTooEarly {
            self.ring();
            self.lane.fetch_add(1, Ordering::SeqCst);
        } else {
            self.lane.fetch_add(1, Ordering::SeqCst);
            self.ring();
        }
    }

    fn quiet(&self, planted: Planted) -> bool {
        let mailbox = planted != Planted::ForgetsMailbox && self.stop.load(Ordering::SeqCst);
        self.lane.load(Ordering::SeqCst) == 0 && !mailbox
    }

    /// Announces the park in `bed` and looks again.
    fn may_sleep(&self, bed: usize, planted: Planted) -> bool {
        let make = || self.bells.lock().unwrap()[bed] = false;
        let tell = || *self.told.lock().unwrap() = Some(bed);
        if planted == Planted::LooksTooEarly {
            make();
            tell();
            return self.quiet(planted) && self.flag.try_park(|| true);
        }
        if planted != Planted::MakesBedTooLate {
            make();
        }
        if planted != Planted::TellsBedTooLate {
            tell();
        }
        let quiet = self.flag.try_park(|| self.quiet(planted));
        match planted {
            Planted::MakesBedTooLate if quiet => make(),
            Planted::TellsBedTooLate if quiet => tell(),
            _ => {}
        }
        quiet
    }

    /// As a driver does: make the bed, tell where it is, announce, look again, sleep until the bell or
    /// for no reason, unpark.
    fn park(&self, bed: usize, planted: Planted) {
        if !self.may_sleep(bed, planted) {
            return;
        }
        let for_no_reason = shuttle::rand::thread_rng().gen_ratio(1, 4);
        if !for_no_reason {
            let mut bells = self.bells.lock().unwrap();
            while !bells[bed] {
                bells = self.rung.wait(bells).unwrap();
            }
        }
        self.flag.unpark();
    }

    /// Takes what comes until all of `items` were taken, or until told to stop.
    fn consume(&self, items: Option<usize>, planted: Planted) -> usize {
        let mut taken = 0;
        while items != Some(taken) && !self.stop.load(Ordering::SeqCst) {
            let got = self.lane.swap(0, Ordering::SeqCst);
            taken += got;
            if got == 0 {
                let bed = usize::from(shuttle::rand::thread_rng().r#gen::<bool>());
                self.park(bed, planted);
            }
        }
        taken
    }
}

/// Two producers, one consumer: a lost wake-up is a deadlock, which shuttle reports.
fn wake_ups(planted: Planted) {
    let model = Arc::new(Model::default());
    let producers: Vec<_> = (0..2)
        .map(|_| {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                for _ in 0..2 {
                    model.send(planted);
                }
            })
        })
        .collect();
    assert_eq!(model.consume(Some(4), planted), 4);
    for producer in producers {
        producer.join().unwrap();
    }
}

/// A producer that goes on and someone who asks the shard to end, perhaps while it sleeps.
fn shutdown(planted: Planted) {
    let model = Arc::new(Model::default());
    let (sender, stopper) = (Arc::clone(&model), Arc::clone(&model));
    let sender = thread::spawn(move || sender.send(planted));
    let stopper = thread::spawn(move || {
        stopper.stop.store(true, Ordering::SeqCst);
        stopper.ring();
    });
    assert!(model.consume(None, planted) <= 1);
    sender.join().unwrap();
    stopper.join().unwrap();
}

fn is_found(run: fn(Planted), planted: Planted) -> bool {
    catch_unwind(|| shuttle::check_random(move || run(planted), SCHEDULES)).is_err()
}

#[test]
fn no_wake_up_is_lost() {
    shuttle::check_random(|| wake_ups(Planted::Nothing), SCHEDULES);
}

#[test]
fn a_shard_ends_even_if_told_while_it_falls_asleep() {
    shuttle::check_random(|| shutdown(Planted::Nothing), SCHEDULES);
}

#[test]
fn a_look_before_the_announcement_is_found() {
    assert!(is_found(wake_ups, Planted::LooksTooEarly));
}

#[test]
fn a_ring_before_the_publish_is_found() {
    assert!(is_found(wake_ups, Planted::RingsTooEarly));
}

#[test]
fn a_mailbox_that_is_not_looked_at_again_is_found() {
    assert!(is_found(shutdown, Planted::ForgetsMailbox));
}

#[test]
fn a_bell_reset_after_the_announcement_is_found() {
    assert!(is_found(wake_ups, Planted::MakesBedTooLate));
}

#[test]
fn a_bed_told_after_the_announcement_is_found() {
    assert!(is_found(wake_ups, Planted::TellsBedTooLate));
}
