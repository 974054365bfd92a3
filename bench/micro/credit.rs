//! What the credit ledger costs for each buffer: spend, arrive, return, settle.
//!
//! Both ends on one thread, as when sender and receiver share a shard. Figures are per buffer.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use thalweg_network::{GateCredits, LedgerError, ReceiverCredit, SenderCredit};

const CREDITS: GateCredits = GateCredits {
    exclusive: 2,
    floating: 8,
};

/// Both ends of all channels of a gate.
struct Ledger {
    senders: Vec<SenderCredit>,
    receiver: ReceiverCredit,
    /// Channels whose buffers are queued, in the order of arrival.
    queued: Vec<u32>,
}

impl Ledger {
    fn new(channels: usize) -> Self {
        Self {
            senders: vec![SenderCredit::new(CREDITS.exclusive); channels],
            receiver: ReceiverCredit::new(channels, CREDITS),
            queued: Vec::with_capacity(channels),
        }
    }

    /// Every channel sends a buffer, with `waiting` behind it; then all are consumed.
    fn round(&mut self, waiting: u32) -> Result<(), LedgerError> {
        for (slot, sender) in self.senders.iter_mut().enumerate() {
            let slot = slot as u32;
            if let Some(backlog) = sender.spend(waiting) {
                let lent = self.receiver.arrived(slot, backlog)?;
                sender.grant(lent);
                self.queued.push(slot);
            }
        }
        for slot in self.queued.drain(..) {
            let returned = self.receiver.returned(slot)?;
            self.senders[slot as usize].settle(returned.granted, 1)?;
            if let Some(grant) = returned.passed_on {
                self.senders[grant.slot as usize].grant(grant.amount);
            }
        }
        Ok(())
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("credit");
    for channels in [1, 64] {
        group.throughput(Throughput::Elements(channels as u64));
        for (name, waiting) in [("flowing", 0), ("backlogged", 4)] {
            let mut ledger = Ledger::new(channels);
            group.bench_function(BenchmarkId::new(name, channels), |bencher| {
                bencher.iter(|| {
                    let kept = ledger.round(waiting);
                    assert_eq!(kept, Ok(()), "both ends agree");
                });
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
