//! The end of a run: its states, and where its sections lie.
//!
//! Written last, read first and kept while a run is open. Invariant: sections follow each other without a
//! gap from the header to the footer, so that every byte of the file belongs to something that is checked.
//! Plain data, lives on any thread.

use std::collections::BTreeSet;
use std::ops::Range;

use thalweg_core::KeyGroup;

use super::envelope::HEADER_BYTES;
use super::fields::{Fields, put_string};
use crate::run::order::Address;

/// What a run says about one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateHeader {
    /// The name of the state, unique within its operator.
    pub name: String,
    /// What the state is made of, as the state itself encodes it; opaque here.
    pub descriptor: Vec<u8>,
    /// Whether the run holds all there was of the state, so that older runs do not count for it.
    pub full: bool,
}

/// The rows of one state in one section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) state: u16,
    pub(crate) first: KeyGroup,
    pub(crate) last: KeyGroup,
    pub(crate) puts: u32,
    pub(crate) tombstones: u32,
}

impl Extent {
    pub(crate) fn rows(&self) -> u64 {
        u64::from(self.puts) + u64::from(self.tombstones)
    }

    /// Whether some of its groups are among `groups`.
    pub(crate) fn meets(&self, groups: &Range<u16>) -> bool {
        self.first.0 < groups.end && groups.start <= self.last.0
    }
}

/// The key and the namespace of a row at the end of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndOfSection {
    pub(crate) key: Vec<u8>,
    pub(crate) namespace: Vec<u8>,
}

/// Where a section lies and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SectionEntry {
    /// Bytes from the start of the file; not written, it follows from the sections before.
    pub(crate) offset: u64,
    pub(crate) blocks_bytes: u64,
    pub(crate) index_bytes: u32,
    pub(crate) index_checksum: u32,
    /// By state, in order; never empty.
    pub(crate) extents: Vec<Extent>,
    pub(crate) first: EndOfSection,
    pub(crate) last: EndOfSection,
}

impl SectionEntry {
    /// Where its index begins.
    pub(crate) fn index_offset(&self) -> u64 {
        self.offset + self.blocks_bytes
    }

    /// Where the next section begins.
    pub(crate) fn end(&self) -> u64 {
        self.index_offset() + u64::from(self.index_bytes)
    }

    /// The rows of one state, if there are some.
    pub(crate) fn extent(&self, state: u16) -> Option<&Extent> {
        let place = self
            .extents
            .binary_search_by_key(&state, |extent| extent.state);
        place.ok().map(|place| &self.extents[place])
    }

    /// The address of its first row.
    pub(crate) fn first(&self) -> Option<Address<'_>> {
        let Extent { state, first, .. } = *self.extents.first()?;
        let EndOfSection { key, namespace } = &self.first;
        Some(Address {
            state,
            group: first,
            key,
            namespace,
        })
    }

    /// The address of its last row.
    pub(crate) fn last(&self) -> Option<Address<'_>> {
        let Extent { state, last, .. } = *self.extents.last()?;
        let EndOfSection { key, namespace } = &self.last;
        Some(Address {
            state,
            group: last,
            key,
            namespace,
        })
    }
}

/// Bit of what a run says about a state: the run is full for it.
const FULL: u8 = 1;
/// Its filters know the keys of the state too.
const KNOWN_BY_KEY: u8 = 2;
/// And of a key of which it has a value, older runs have nothing that counts.
const WHOLE_BY_KEY: u8 = 4;

/// States and sections of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) states: Vec<StateHeader>,
    /// Numbers of the states whose keys filters know too, without the namespaces of their rows.
    pub(crate) known_by_key: BTreeSet<u16>,
    /// Those among them of whose keys all values are here, if any is, that were not changed later.
    pub(crate) whole_by_key: BTreeSet<u16>,
    pub(crate) sections: Vec<SectionEntry>,
}

impl Footer {
    /// Appends the footer.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.states.len() as u32).to_le_bytes());
        for (number, state) in (0_u16..).zip(&self.states) {
            put_string(out, state.name.as_bytes());
            put_string(out, &state.descriptor);
            let says = [
                (FULL, state.full),
                (KNOWN_BY_KEY, self.known_by_key.contains(&number)),
                (WHOLE_BY_KEY, self.whole_by_key.contains(&number)),
            ];
            let said = says.iter().filter(|(_, said)| *said);
            out.push(said.map(|(bit, _)| bit).sum());
        }
        out.extend_from_slice(&(self.sections.len() as u32).to_le_bytes());
        for section in &self.sections {
            section.write(out);
        }
    }

    /// Reads the footer of a run of a version; the answer says what is wrong with it.
    pub(crate) fn read(bytes: &[u8], version: u32) -> Result<Footer, &'static str> {
        const SHORT: &str = "the footer ends too early";
        let known_bits = match version {
            1 => FULL,
            _ => FULL | KNOWN_BY_KEY | WHOLE_BY_KEY,
        };
        let mut fields = Fields::new(bytes);
        let mut footer = Footer::default();
        for _ in 0..fields.u32().ok_or(SHORT)? {
            let (name, descriptor) = (fields.string().ok_or(SHORT)?, fields.string().ok_or(SHORT)?);
            let name = std::str::from_utf8(name).map_err(|_| "a state's name is no text")?;
            let says = fields.u8().ok_or(SHORT)?;
            let both = KNOWN_BY_KEY | WHOLE_BY_KEY;
            if says & !known_bits != 0 || says & both == WHOLE_BY_KEY {
                return Err("of a state something is said that no run says");
            }
            let Ok(number) = u16::try_from(footer.states.len()) else {
                return Err("there are more states than numbers");
            };
            if says & KNOWN_BY_KEY != 0 {
                footer.known_by_key.insert(number);
            }
            if says & WHOLE_BY_KEY != 0 {
                footer.whole_by_key.insert(number);
            }
            footer.states.push(StateHeader {
                name: name.to_owned(),
                descriptor: descriptor.to_owned(),
                full: says & FULL != 0,
            });
        }
        let mut offset = HEADER_BYTES as u64;
        for _ in 0..fields.u32().ok_or(SHORT)? {
            let section = SectionEntry::read(&mut fields, offset).ok_or(SHORT)?;
            section.check(footer.states.len())?;
            let length = section
                .blocks_bytes
                .checked_add(u64::from(section.index_bytes));
            let end = length.and_then(|length| offset.checked_add(length));
            offset = end.ok_or("a section is longer than any file")?;
            footer.sections.push(section);
        }
        if fields.left() > 0 {
            return Err("bytes are left behind the footer");
        }
        Ok(footer)
    }

    /// Where the footer begins: behind the last section.
    pub(crate) fn offset(&self) -> u64 {
        self.sections
            .last()
            .map_or(HEADER_BYTES as u64, SectionEntry::end)
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let of_state = |state: &StateHeader| state.name.len() + state.descriptor.len();
        let states = self.states.iter().map(of_state).sum::<usize>();
        let of_section = |section: &SectionEntry| {
            let (first, last) = (&section.first, &section.last);
            let ends =
                first.key.len() + first.namespace.len() + last.key.len() + last.namespace.len();
            ends + section.extents.len() * size_of::<Extent>()
        };
        let sections = self.sections.iter().map(of_section).sum::<usize>();
        let fixed = self.states.capacity() * size_of::<StateHeader>()
            + self.sections.capacity() * size_of::<SectionEntry>();
        let numbers = self.known_by_key.len() + self.whole_by_key.len();
        states + sections + fixed + numbers * size_of::<u32>()
    }
}

impl SectionEntry {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.blocks_bytes.to_le_bytes());
        out.extend_from_slice(&self.index_bytes.to_le_bytes());
        out.extend_from_slice(&self.index_checksum.to_le_bytes());
        out.extend_from_slice(&(self.extents.len() as u32).to_le_bytes());
        for Extent {
            state,
            first,
            last,
            puts,
            tombstones,
        } in &self.extents
        {
            out.extend_from_slice(&state.to_le_bytes());
            out.extend_from_slice(&first.0.to_le_bytes());
            out.extend_from_slice(&last.0.to_le_bytes());
            out.extend_from_slice(&puts.to_le_bytes());
            out.extend_from_slice(&tombstones.to_le_bytes());
        }
        for EndOfSection { key, namespace } in [&self.first, &self.last] {
            put_string(out, key);
            put_string(out, namespace);
        }
    }

    fn read(fields: &mut Fields<'_>, offset: u64) -> Option<SectionEntry> {
        let blocks_bytes = fields.u64()?;
        let (index_bytes, index_checksum) = (fields.u32()?, fields.u32()?);
        let mut extents = Vec::new();
        for _ in 0..fields.u32()? {
            extents.push(Extent {
                state: fields.u16()?,
                first: KeyGroup(fields.u16()?),
                last: KeyGroup(fields.u16()?),
                puts: fields.u32()?,
                tombstones: fields.u32()?,
            });
        }
        let mut end = || {
            let key = fields.string()?.to_owned();
            Some(EndOfSection {
                key,
                namespace: fields.string()?.to_owned(),
            })
        };
        let (first, last) = (end()?, end()?);
        Some(SectionEntry {
            offset,
            blocks_bytes,
            index_bytes,
            index_checksum,
            extents,
            first,
            last,
        })
    }

    fn check(&self, states: usize) -> Result<(), &'static str> {
        let ascending = self
            .extents
            .is_sorted_by(|one, next| one.state < next.state);
        let known = self
            .extents
            .iter()
            .all(|extent| usize::from(extent.state) < states);
        let filled = self
            .extents
            .iter()
            .all(|it| it.rows() > 0 && it.first <= it.last);
        if self.extents.is_empty() || !ascending || !known || !filled {
            return Err("a section holds what no section holds");
        }
        Ok(())
    }
}
