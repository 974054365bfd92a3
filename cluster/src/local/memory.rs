//! What memory a job needs before it starts, and the refusal that names what is missing.

use thalweg_core::config::{Configuration, MemorySize, options};
use thalweg_core::error::ErrorKind;
use thalweg_dataflow::executor::JobError;
use thalweg_network::GateCredits;

/// Memory settings of one job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemorySettings {
    pub(crate) segment_bytes: usize,
    pub(crate) network_bytes: u64,
    pub(crate) managed_bytes: u64,
    pub(crate) max_record_bytes: u64,
    /// What a gate has, before its floating credits are shared out.
    credits: GateCredits,
    /// Whether they are.
    shared: bool,
    /// How long a segment that is not full waits for more records, in ns.
    pub(crate) flush_interval_ns: u64,
}

impl MemorySettings {
    /// Reads and checks them.
    pub(crate) fn of(configuration: &Configuration) -> Result<Self, JobError> {
        let MemorySize(segment) = configuration.get(&options::SEGMENT_SIZE);
        let invalid = |text: String| Err(JobError::rejected(ErrorKind::Invalid, text));
        if !(512..=131_072).contains(&segment) || !segment.is_power_of_two() {
            return invalid(format!(
                "taskmanager.memory.segment-size is {segment} bytes; it must be a power of two \
                 from 512b to 128kb"
            ));
        }
        let exclusive = configuration.get(&options::BUFFERS_PER_CHANNEL);
        if exclusive == 0 {
            return invalid(
                "taskmanager.network.memory.buffers-per-channel is 0; without a credit no \
                 record can travel: set it to 1 or more"
                    .to_owned(),
            );
        }
        let interval = configuration.get(&options::BUFFER_TIMEOUT);
        Ok(Self {
            segment_bytes: segment as usize,
            network_bytes: configuration.get(&options::NETWORK_MEMORY_SIZE).0,
            managed_bytes: configuration.get(&options::MANAGED_MEMORY_SIZE).0,
            max_record_bytes: configuration.get(&options::MAX_RECORD_SIZE).0,
            credits: GateCredits {
                exclusive,
                floating: configuration.get(&options::FLOATING_BUFFERS_PER_GATE),
            },
            shared: true,
            flush_interval_ns: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
        })
    }

    /// The credits of a gate of so many channels, or of the widest of those that have a subtask of a vertex each.
    pub(crate) fn credits(&self, channels: usize) -> GateCredits {
        match self.shared {
            true => self.credits.shared_out(channels),
            false => self.credits,
        }
    }

    /// The same settings for a job that needs so many segments on its fullest shard, which `segments` answers for
    /// settings: without credits shared out where there are too few, as behind one producer of many consumers each of
    /// which would have all of its own.
    ///
    /// # Errors
    /// When there are too few even so.
    pub(crate) fn fitting(
        mut self,
        segments: impl Fn(&Self) -> usize,
        shards: u16,
    ) -> Result<Self, JobError> {
        self.shared = segments(&self) <= self.segments_per_shard(shards);
        self.check_network(segments(&self), shards)?;
        Ok(self)
    }

    /// Checks that `segments` fit the network memory of the fullest shard.
    fn check_network(&self, segments: usize, shards: u16) -> Result<(), JobError> {
        let available = self.segments_per_shard(shards);
        if segments <= available {
            return Ok(());
        }
        let needed = segments as u64 * self.segment_bytes as u64 * u64::from(shards);
        Err(JobError::rejected(
            ErrorKind::Resource,
            format!(
                "the exchanges of this job need {segments} segments of {} bytes on one shard, \
                 there are {available}: set taskmanager.memory.network.size to {}kb or more (it \
                 is {}kb), or lower taskmanager.network.memory.buffers-per-channel or \
                 floating-buffers-per-gate beside it, the segment size or the parallelism",
                self.segment_bytes,
                needed.div_ceil(1024),
                self.network_bytes / 1024,
            ),
        ))
    }

    /// Segments of one shard's pool.
    pub(crate) fn segments_per_shard(&self, shards: u16) -> usize {
        let share = self.network_bytes / u64::from(shards);
        (share / self.segment_bytes as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use thalweg_network::segments_needed;

    use super::*;

    /// Settings with so many segments, for a job of one producer and 20 consumers.
    fn fitted(segments: u64) -> Result<MemorySettings, JobError> {
        let mut configuration = Configuration::new();
        let MemorySize(size) = configuration.get(&options::SEGMENT_SIZE);
        configuration.set(&options::NETWORK_MEMORY_SIZE, MemorySize(segments * size));
        let needed = |memory: &MemorySettings| segments_needed(20, memory.credits(1));
        MemorySettings::of(&configuration)?.fitting(needed, 1)
    }

    #[test]
    fn credits_are_shared_out_only_where_there_are_segments_for_all_of_them() {
        let of_one = |memory: MemorySettings| memory.credits(1).exclusive;
        assert_eq!(fitted(20 * 11).map(of_one).ok(), Some(10));
        assert_eq!(fitted(20 * 11 - 1).map(of_one).ok(), Some(2));
        assert_eq!(fitted(20 * 3 + 8).map(of_one).ok(), Some(2));
        let refused = fitted(20 * 3 + 7).unwrap_err().to_string();
        assert!(refused.contains("need 68 segments"), "{refused}");
    }
}
