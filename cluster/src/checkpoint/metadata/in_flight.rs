//! The bytes of what metadata says about records in flight: a part of versions 2 and 3.
//!
//! | what | how |
//! |---|---|
//! | files | list, in version 2 not empty, of: file text, length 64, CRC-32C 32, list of sections |
//! | section | reader: operator 64, input 32, subtask 32; writer: operator 64, edge 32, subtask 32; keyed 8; not yet sent 8; offset 64, length 64, CRC-32C 32 |
//!
//! Pure functions, callable from any thread. Invariant: as for the format as a whole.

use thalweg_core::ids::OperatorId;
use thalweg_state::snapshot::{ChannelPath, InFlightFile, InFlightSection};

use super::bytes::{Reader, Refusal, Writer};
use crate::checkpoint::storage::is_plain_name;

/// Bytes of a section.
const SECTION: usize = 54;

pub(super) fn write(to: &mut Writer, files: &[InFlightFile]) -> Result<(), String> {
    to.count(files.len())?;
    for file in files {
        to.text(&file.file)?;
        to.u64(file.bytes);
        to.u32(file.checksum);
        to.count(file.sections.len())?;
        for section in &file.sections {
            let path = &section.path;
            to.u64(path.receiver.0);
            to.u32(path.input);
            to.u32(path.to);
            to.u64(path.sender.0);
            to.u32(path.port);
            to.u32(path.from);
            to.u8(u8::from(path.keyed));
            to.u8(u8::from(section.at_sender));
            to.u64(section.offset);
            to.u64(section.bytes);
            to.u32(section.checksum);
        }
    }
    Ok(())
}

pub(super) fn read(from: &mut Reader<'_>) -> Result<Vec<InFlightFile>, Refusal> {
    from.list(20, read_file)
}

fn read_file(from: &mut Reader<'_>) -> Result<InFlightFile, Refusal> {
    let file = from.text()?;
    if !is_plain_name(&file) {
        return from.refuse(format!("{file:?} is no plain file name"));
    }
    let file = InFlightFile {
        file,
        bytes: from.u64()?,
        checksum: from.u32()?,
        sections: from.list(SECTION, read_section)?,
    };
    let within = |section: &InFlightSection| {
        let end = section.offset.checked_add(section.bytes);
        end.is_some_and(|end| end <= file.bytes)
    };
    if !file.sections.iter().all(within) {
        return from.refuse(format!("a section is not within {}", file.file));
    }
    Ok(file)
}

fn read_section(from: &mut Reader<'_>) -> Result<InFlightSection, Refusal> {
    Ok(InFlightSection {
        path: ChannelPath {
            receiver: OperatorId(from.u64()?),
            input: from.u32()?,
            to: from.u32()?,
            sender: OperatorId(from.u64()?),
            port: from.u32()?,
            from: from.u32()?,
            keyed: from.flag()?,
        },
        at_sender: from.flag()?,
        offset: from.u64()?,
        bytes: from.u64()?,
        checksum: from.u32()?,
    })
}
