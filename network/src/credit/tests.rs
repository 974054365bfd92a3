//! The ledger under random traffic: senders, receiver and what travels between them as a model.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Copy, Clone)]
struct Travelling {
    granted: u32,
    consumed: u32,
}

fn credits(exclusive: u32, floating: u32) -> GateCredits {
    GateCredits {
        exclusive,
        floating,
    }
}

/// One gate and its senders, with both directions of every channel as a queue.
struct Model {
    exclusive: u32,
    floating: u32,
    receiver: ReceiverCredit,
    senders: Vec<SenderCredit>,
    waiting: Vec<u32>,
    data: Vec<VecDeque<u32>>,
    credits: Vec<VecDeque<Travelling>>,
}

impl Model {
    fn new(channels: usize, exclusive: u32, floating: u32, planted: Option<Planted>) -> Model {
        let mut receiver = ReceiverCredit::new(channels, credits(exclusive, floating));
        receiver.planted = planted;
        Model {
            exclusive,
            floating,
            receiver,
            senders: vec![SenderCredit::new(exclusive); channels],
            waiting: vec![0; channels],
            data: vec![VecDeque::new(); channels],
            credits: vec![VecDeque::new(); channels],
        }
    }

    fn want(&mut self, channel: usize) {
        self.waiting[channel] += 1;
        self.send_waiting(channel);
    }

    fn send_waiting(&mut self, channel: usize) {
        while self.waiting[channel] > 0 {
            let Some(backlog) = self.senders[channel].spend(self.waiting[channel] - 1) else {
                return;
            };
            self.waiting[channel] -= 1;
            self.data[channel].push_back(backlog);
        }
    }

    fn deliver_data(&mut self, channel: usize) -> Result<(), LedgerError> {
        let Some(backlog) = self.data[channel].pop_front() else {
            return Ok(());
        };
        let granted = self.receiver.arrived(channel as u32, backlog)?;
        if granted > 0 {
            self.credits[channel].push_back(Travelling {
                granted,
                consumed: 0,
            });
        }
        Ok(())
    }

    fn consume(&mut self, channel: usize) -> Result<(), LedgerError> {
        if self.receiver.queued(channel as u32) == 0 {
            return Ok(());
        }
        let returned = self.receiver.returned(channel as u32)?;
        self.credits[channel].push_back(Travelling {
            granted: returned.granted,
            consumed: 1,
        });
        if let Some(grant) = returned.passed_on {
            let travelling = Travelling {
                granted: grant.amount,
                consumed: 0,
            };
            self.credits[grant.slot as usize].push_back(travelling);
        }
        Ok(())
    }

    fn deliver_credit(&mut self, channel: usize) -> Result<(), LedgerError> {
        let Some(credit) = self.credits[channel].pop_front() else {
            return Ok(());
        };
        self.senders[channel].settle(credit.granted, credit.consumed)?;
        self.send_waiting(channel);
        Ok(())
    }

    /// The invariants of the module head, and who stands in line.
    fn check(&self) -> Result<(), String> {
        let mut lent = 0;
        for (channel, sender) in self.senders.iter().enumerate() {
            let ledger = &self.receiver.channels[channel];
            let granted: u32 = self.credits[channel]
                .iter()
                .map(|credit| credit.granted)
                .sum();
            let consumed: u32 = self.credits[channel]
                .iter()
                .map(|credit| credit.consumed)
                .sum();
            let data = self.data[channel].len() as u32;
            if sender.available() + granted + data != ledger.outstanding {
                return Err(format!("channel {channel}: outstanding credits differ"));
            }
            if ledger.outstanding + ledger.queued != self.exclusive + ledger.floating {
                return Err(format!("channel {channel}: credits made or lost"));
            }
            if sender.in_flight() != data + ledger.queued + consumed {
                return Err(format!("channel {channel}: in flight differs"));
            }
            if ledger.wants() > 0 && self.receiver.floating_free > 0 {
                return Err(format!(
                    "channel {channel}: waits beside a free floating credit"
                ));
            }
            lent += ledger.floating;
        }
        if lent + self.receiver.floating_free != self.floating {
            return Err("floating credits made or lost".to_owned());
        }
        Ok(())
    }

    fn step(&mut self, action: u8, channel: usize) -> Result<(), String> {
        match action % 4 {
            0 => self.want(channel),
            1 => self
                .deliver_data(channel)
                .map_err(|error| error.to_string())?,
            2 => self.consume(channel).map_err(|error| error.to_string())?,
            _ => self
                .deliver_credit(channel)
                .map_err(|error| error.to_string())?,
        }
        self.check()
    }

    /// Lets everything arrive and be consumed; everything that waited must get through.
    fn drain(&mut self) -> Result<(), String> {
        for _ in 0..10_000 {
            for channel in 0..self.senders.len() {
                for action in 1..4 {
                    self.step(action, channel)?;
                }
            }
            let quiet = self.data.iter().all(VecDeque::is_empty)
                && self.credits.iter().all(VecDeque::is_empty)
                && self
                    .receiver
                    .channels
                    .iter()
                    .all(|ledger| ledger.queued == 0);
            if quiet {
                let stuck = self.waiting.iter().any(|&waiting| waiting > 0);
                return if stuck {
                    Err("a sender is stuck".to_owned())
                } else {
                    Ok(())
                };
            }
        }
        Err("never quiet".to_owned())
    }
}

fn run(
    (channels, exclusive, floating): (usize, u32, u32),
    steps: &[(u8, usize)],
    planted: Option<Planted>,
) -> Result<(), String> {
    let mut model = Model::new(channels, exclusive, floating, planted);
    for &(action, channel) in steps {
        model.step(action, channel % channels)?;
    }
    model.drain()
}

fn shape() -> impl Strategy<Value = (usize, u32, u32)> {
    (1usize..5, 1u32..4, 0u32..5)
}

fn steps() -> impl Strategy<Value = Vec<(u8, usize)>> {
    // Wanting to send is drawn more often than the rest, else backlogs hardly ever build up.
    let action = prop_oneof![3 => Just(0u8), 2 => Just(1u8), 2 => Just(2u8), 2 => Just(3u8)];
    prop::collection::vec((action, 0usize..5), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn credits_are_conserved_and_nobody_is_stuck(shape in shape(), steps in steps()) {
        if let Err(broken) = run(shape, &steps, None) {
            prop_assert!(false, "{broken}");
        }
    }
}

/// Runs the same property on a ledger with a planted fault and answers whether it was found.
fn finds(planted: Planted) -> bool {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let outcome = runner.run(&(shape(), steps()), |(shape, steps)| {
        prop_assert!(run(shape, &steps, Some(planted)).is_ok());
        Ok(())
    });
    outcome.is_err()
}

#[test]
fn planted_double_grant_is_found() {
    assert!(finds(Planted::TakenBackAndGranted));
}

#[test]
fn planted_credit_kept_from_the_line_is_found() {
    assert!(finds(Planted::NotPassedOn));
}

#[test]
fn the_last_credit_announces_one_more() {
    let mut sender = SenderCredit::new(2);
    assert_eq!(sender.spend(0), Some(0));
    assert_eq!(sender.spend(0), Some(1));
    assert_eq!(sender.spend(3), None);
    assert_eq!(sender.in_flight(), 2);
    assert_eq!(sender.settle(1, 1), Ok(()));
    assert_eq!(sender.spend(3), Some(4));
}

#[test]
fn breaking_the_ledger_is_an_error() {
    let mut receiver = ReceiverCredit::new(1, credits(1, 0));
    assert_eq!(receiver.arrived(0, 0), Ok(0));
    assert_eq!(
        receiver.arrived(0, 0),
        Err(LedgerError::Overspent {
            queued: 1,
            exclusive: 1
        })
    );
    assert_eq!(
        receiver.returned(0),
        Ok(Returned {
            granted: 1,
            passed_on: None
        })
    );
    assert!(receiver.returned(0).is_err());
    let mut sender = SenderCredit::new(1);
    assert_eq!(
        sender.settle(1, 1),
        Err(LedgerError::Overreturned {
            returned: 1,
            in_flight: 0
        })
    );
    assert_eq!(sender.available(), 1);
}

#[test]
fn the_end_of_a_channel_frees_its_floating_credits() {
    let mut receiver = ReceiverCredit::new(2, credits(1, 1));
    assert_eq!(receiver.arrived(0, 1), Ok(1));
    assert_eq!(receiver.arrived(1, 1), Ok(0));
    assert_eq!(receiver.floating_free(), 0);
    assert_eq!(receiver.ended(0), [Grant { slot: 1, amount: 1 }]);
    assert_eq!(
        receiver.returned(0),
        Ok(Returned {
            granted: 1,
            passed_on: None
        })
    );
}

proptest! {
    /// None is made, none is lost, and of what floats there is not one for each channel.
    #[test]
    fn shared_out_credits_are_those_there_were(
        exclusive in 1..64_u32,
        floating in 0..5_000_u32,
        channels in 1..6_000_usize,
    ) {
        let shared = credits(exclusive, floating).shared_out(channels);
        let all = |credits: GateCredits| {
            channels as u64 * u64::from(credits.exclusive) + u64::from(credits.floating)
        };
        prop_assert_eq!(all(shared), all(credits(exclusive, floating)));
        prop_assert!((shared.floating as usize) < channels);
    }
}
