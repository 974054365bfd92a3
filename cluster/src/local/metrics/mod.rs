//! Looking at the metrics of a running job, from any thread.
//!
//! A [`MetricsReader`] is given to an executor and to whoever wants to look. While a job runs it knows what is counted
//! of it as a whole, and the mailboxes of its shards, and asks each for a copy of its list, between two turns.
//! Invariants: no shard ever waits for a reader, and a reader waits no longer than its patience for a shard.

mod job;

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_core::ids::ShardId;
use thalweg_core::metrics::MetricSnapshot;
use thalweg_core::seam::clock::monotonic_ns;
use thalweg_core::shard::executor::Shard;
use thalweg_core::shard::mailbox::MailboxSender;

pub(crate) use self::job::{JobFigures, LastCheckpoint};

/// Reads the metrics of the job that an executor is running. Clones read the same.
#[derive(Clone, Debug, Default)]
pub struct MetricsReader(Arc<Mutex<Readable>>);

/// What there is to read.
#[derive(Debug, Default)]
struct Readable {
    job: Option<JobFigures>,
    /// Those of the attempt that runs.
    shards: Vec<Asked>,
}

/// A shard that is asked.
#[derive(Clone, Debug)]
struct Asked {
    id: ShardId,
    mailbox: MailboxSender,
    /// Held by every question that waits for the shard.
    waiting: Arc<()>,
}

/// A shard that so many questions wait for is asked no more: it does not come to answer, and has to be told to stop by
/// the same way.
const MOST_WAITING: usize = 64;

/// What a job and its shards showed.
#[derive(Clone, Debug, Default)]
pub struct MetricsSnapshot {
    /// Those of the job as a whole, then all metrics of the shards that answered, by shard, then name, then labels.
    pub metrics: Vec<MetricSnapshot>,
    /// The shards that did not answer in time: they have ended, or stand in a turn that is too long.
    pub missing: Vec<ShardId>,
}

impl MetricsReader {
    /// A reader that sees nothing until an executor has it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the running job and its shards show now, each shard waited for until `patience` is over; empty when no
    /// job runs. A job that waits to begin again has no shards.
    #[must_use]
    pub fn snapshot(&self, patience: Duration) -> MetricsSnapshot {
        let readable = self.readable();
        let (job, shards) = (readable.job.clone(), readable.shards.clone());
        drop(readable);
        let deadline = monotonic_ns().saturating_add(patience.as_nanos() as u64);
        // One answer of each shard: none of them ever waits.
        let (answer, answers) = sync_channel(shards.len());
        let mut missing: Vec<ShardId> = shards.iter().map(|shard| shard.id).collect();
        for shard in &shards {
            // Whoever asks at the same time counts too.
            if Arc::strong_count(&shard.waiting) > MOST_WAITING {
                continue;
            }
            let (id, answer, waits) = (shard.id, answer.clone(), Arc::clone(&shard.waiting));
            let look = move |shard: &mut Shard| {
                drop(waits);
                // Nobody listens any more when the reader has lost patience.
                let _ = answer.try_send((id, shard.metrics_snapshot()));
            };
            // A shard that takes no commands stays among the missing.
            let _ = shard.mailbox.send(Box::new(look));
        }
        drop(answer);
        let mut answered = Vec::with_capacity(shards.len());
        while !missing.is_empty() {
            let left = Duration::from_nanos(deadline.saturating_sub(monotonic_ns()));
            let Ok((id, metrics)) = answers.recv_timeout(left) else {
                break;
            };
            missing.retain(|shard| *shard != id);
            answered.push((id, metrics));
        }
        answered.sort_by_key(|(id, _)| *id);
        let mut metrics = job.map_or_else(Vec::new, |job| job.snapshot(monotonic_ns()));
        metrics.extend(answered.into_iter().flat_map(|(_, metrics)| metrics));
        MetricsSnapshot { metrics, missing }
    }

    /// A job is led from now on.
    pub(crate) fn show(&self, job: &JobFigures) -> Led<'_> {
        self.readable().job = Some(job.clone());
        Led(self)
    }

    /// The job runs on these shards from now on.
    pub(crate) fn attach(&self, shards: Vec<(ShardId, MailboxSender)>) -> Attached<'_> {
        let asked = shards.into_iter().map(|(id, mailbox)| Asked {
            id,
            mailbox,
            waiting: Arc::default(),
        });
        self.readable().shards = asked.collect();
        Attached(self)
    }

    fn readable(&self) -> MutexGuard<'_, Readable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As long as it lives, a reader sees what is counted of a job.
pub(crate) struct Led<'r>(&'r MetricsReader);

impl Drop for Led<'_> {
    fn drop(&mut self) {
        self.0.readable().job = None;
    }
}

/// As long as it lives, a reader sees the shards of a job.
pub(crate) struct Attached<'r>(&'r MetricsReader);

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.readable().shards.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_core::shard::doorbell::Doorbell;
    use thalweg_core::shard::mailbox::{MAILBOX_CAPACITY, Mailbox};

    #[test]
    fn questions_that_are_not_answered_leave_room_for_what_matters() {
        let mailbox = Mailbox::new(Doorbell::new());
        let reader = MetricsReader::new();
        let shard = ShardId(3);
        let _attached = reader.attach(vec![(shard, mailbox.sender())]);
        for _ in 0..2 * MAILBOX_CAPACITY {
            assert_eq!(reader.snapshot(Duration::ZERO).missing, [shard]);
        }
        assert_eq!(mailbox.sender().send(Box::new(|_| {})), Ok(()));
        drop(mailbox);
        assert_eq!(reader.readable().shards.len(), 1);
        let waiting = Arc::strong_count(&reader.readable().shards[0].waiting);
        assert_eq!(waiting, 1, "no question is left");
    }
}
