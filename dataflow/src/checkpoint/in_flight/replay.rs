//! Records that were in flight when a job was cut, read again by the tasks they were on their way to.
//!
//! Made while a chain is built, when reading may wait; emptied by the head of the chain before it reads anything
//! new. Invariants: the order within a former channel is kept, what had left its sender before what had not;
//! of records that go by keys a task gets those of its key groups. Lives on one shard's thread.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crc32c::crc32c;
use thalweg_core::key_group::{KeyHash, MaxParallelism};
use thalweg_memory::record::Damaged;
use thalweg_memory::{Buffer, EntryLayout, Mark, Remainder};
use thalweg_network::ChannelId;
use thalweg_state::InFlightSection;

use super::format::{check_begin, read_section};
use crate::checkpoint::restored::{RestoredState, RunFiles};
use crate::checkpoint::setup::CheckpointSetup;

/// One section that a restored subtask reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredSection {
    /// The name of the file.
    pub file: String,
    /// The section of it.
    pub section: InFlightSection,
    /// The key groups whose records count for this subtask; all of them if there are none.
    pub groups: Option<Range<u16>>,
    /// Whether the channel is the same as before, so that what was promised on it still holds.
    pub same_channel: bool,
}

/// What a restored task reads before anything new.
pub(crate) struct Replay(VecDeque<Replayed>);

/// One buffer of it.
pub(crate) struct Replayed {
    /// The input it belongs to.
    pub(crate) input: u32,
    /// The channel it came on; some channel of the task if it is no more, and it has no marks then.
    pub(crate) channel: ChannelId,
    pub(crate) buffer: Buffer,
}

impl Replay {
    /// Reads what is to be replayed. `revive` makes buffers of the records of an input.
    pub(crate) fn open(
        (setup, restored): (&CheckpointSetup, &RestoredState),
        groups: MaxParallelism,
        layout: impl Fn(u32) -> Option<EntryLayout>,
        revive: impl Fn(u32, &Remainder, &mut dyn FnMut(KeyHash) -> bool) -> Result<Buffer, Damaged>,
    ) -> Result<Self, String> {
        let mut replay = VecDeque::new();
        let paths: BTreeMap<_, _> = (setup.channels.iter())
            .map(|(channel, part)| (part.path, *channel))
            .collect();
        for restored_section in &restored.in_flight {
            let RestoredSection { file, section, .. } = restored_section;
            let input = section.path.input;
            let refuse =
                |what: String| format!("the records in flight in {file} to input {input}: {what}");
            let bytes = read(&*restored.files, file, section).map_err(refuse)?;
            let content = read_section(&bytes).map_err(|damage| refuse(damage.to_string()))?;
            if layout(input) != Some(content.layout) {
                return Err(refuse(
                    "the program has no such input, or other event times or keys beside its records; \
                     restore a savepoint instead, which holds none"
                        .to_owned(),
                ));
            }
            let same = paths.get(&section.path).copied();
            let channel = same.filter(|_| restored_section.same_channel);
            for mut rest in content.buffers {
                // Who is idle says so again.
                let is_promise = |mark: &Mark| matches!(mark, Mark::Watermark(_));
                rest.marks
                    .retain(|(_, mark)| channel.is_some() && is_promise(mark));
                let mut keep = |hash: KeyHash| match &restored_section.groups {
                    Some(range) => range.contains(&groups.key_group(hash).0),
                    None => true,
                };
                let buffer = revive(input, &rest, &mut keep);
                replay.push_back(Replayed {
                    input,
                    channel: channel.unwrap_or(ChannelId(u32::MAX)),
                    buffer: buffer.map_err(|damage| refuse(damage.to_string()))?,
                });
            }
        }
        Ok(Self(replay))
    }

    /// The next buffer.
    pub(crate) fn next(&mut self) -> Option<Replayed> {
        self.0.pop_front()
    }

    /// Whether nothing is left.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// The bytes of a section, after their checksum was found right, of a file that begins as it should.
pub(super) fn read(
    files: &dyn RunFiles,
    file: &str,
    section: &InFlightSection,
) -> Result<Vec<u8>, String> {
    let source = files.open_file(file).map_err(|error| error.to_string())?;
    check_begin(&source).map_err(|damage| format!("{damage}; take an older checkpoint"))?;
    let (length, end) = (source.length(), section.offset.checked_add(section.bytes));
    let Some(bytes) = usize::try_from(section.bytes)
        .ok()
        .filter(|_| end.is_some_and(|end| end <= length))
    else {
        return Err(format!(
            "{} bytes from {} on are not in a file of {length}; take an older checkpoint",
            section.bytes, section.offset
        ));
    };
    let mut read = vec![0; bytes];
    let filled = source.read_at(section.offset, &mut read);
    filled.map_err(|error| error.to_string())?;
    let found = crc32c(&read);
    match found == section.checksum {
        true => Ok(read),
        false => Err(format!(
            "they are damaged (checksum {found:08x}, expected {:08x}); take an older checkpoint",
            section.checksum
        )),
    }
}
