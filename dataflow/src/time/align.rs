//! Alignment: sources of one group pause when they are ahead of its slowest.
//!
//! A group belongs to one job. Each subtask of its sources is a member with a cell of its own, which it
//! alone writes and the others read, once per turn: no lock and no read-modify-write. The list of cells
//! is behind a lock that is taken only while members join. Crosses threads; each [`Member`] lives on one
//! shard.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_core::event_time::Timestamp;

/// How far a member has come; on a cache line of its own, because another thread writes the next.
#[repr(align(128))]
struct Progress(AtomicI64);

/// The sources of a job that shall not run apart.
#[derive(Default)]
pub(crate) struct AlignmentGroup {
    members: Mutex<Vec<Arc<Progress>>>,
    /// How many have joined; tells members that the list has grown.
    joined: AtomicUsize,
    /// How many will.
    expected: AtomicUsize,
}

impl AlignmentGroup {
    /// So many more subtasks will join: nobody runs ahead before they have.
    pub(crate) fn expect(&self, subtasks: u32) {
        self.expected
            .fetch_add(subtasks as usize, Ordering::Relaxed);
    }

    /// One subtask joins, on its shard.
    pub(crate) fn join(self: Arc<Self>, max_drift_ms: i64) -> Member {
        let own = Arc::new(Progress(AtomicI64::new(Timestamp::MIN.0)));
        {
            let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            members.push(Arc::clone(&own));
            self.joined.store(members.len(), Ordering::Release);
        }
        Member {
            group: self,
            own,
            known: Vec::new(),
            max_drift_ms,
        }
    }
}

/// One subtask of a group.
pub(crate) struct Member {
    group: Arc<AlignmentGroup>,
    own: Arc<Progress>,
    known: Vec<Arc<Progress>>,
    max_drift_ms: i64,
}

impl Member {
    /// Tells the others how far this one has come: [`Timestamp::MAX`] if it holds nobody.
    pub(crate) fn publish(&self, progress: Timestamp) {
        // Nothing else is read after it: each cell stands for itself.
        self.own.0.store(progress.0, Ordering::Relaxed);
    }

    /// The event time up to which splits may run now.
    pub(crate) fn limit(&mut self) -> Timestamp {
        let joined = self.group.joined.load(Ordering::Acquire);
        if joined != self.known.len() {
            let members = self.group.members.lock();
            self.known = members.unwrap_or_else(PoisonError::into_inner).clone();
        }
        if joined < self.group.expected.load(Ordering::Relaxed) {
            return Timestamp::MIN;
        }
        let cells = self.known.iter().map(|cell| cell.0.load(Ordering::Relaxed));
        let slowest = cells.min().unwrap_or(i64::MAX);
        Timestamp(slowest).plus_ms(self.max_drift_ms)
    }
}

impl Drop for Member {
    /// Who has gone holds nobody.
    fn drop(&mut self) {
        self.publish(Timestamp::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_member_sets_the_limit_once_all_have_joined() {
        let group = Arc::new(AlignmentGroup::default());
        group.expect(2);
        let mut fast = Arc::clone(&group).join(100);
        fast.publish(Timestamp(5_000));
        assert_eq!(fast.limit(), Timestamp::MIN, "the other has not joined");
        let slow = Arc::clone(&group).join(100);
        assert_eq!(fast.limit(), Timestamp::MIN.plus_ms(100));
        slow.publish(Timestamp(4_000));
        assert_eq!(fast.limit(), Timestamp(4_100));
        drop(slow);
        assert_eq!(fast.limit(), Timestamp(5_100));
        fast.publish(Timestamp::MAX);
        assert_eq!(fast.limit(), Timestamp::MAX);
    }
}
