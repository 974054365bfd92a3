//! Every byte of a run looked at; and, in `receipt`, whether it is the run that is meant, without its rows.
//!
//! Entered before a run is trusted that was copied, lay long, or is restored lazily. Invariant: what passes
//! is byte for byte a run as a writer writes it: each checksum, each count, the order of the rows, and a
//! filter that denies none of them. Goes section by section, so that it can be spread over turns. Lives
//! where its reader lives.

mod receipt;

use crate::run::error::RunError;
use crate::run::format::block::RowCursor;
use crate::run::format::checksum::{checksum, checksum_onward};
use crate::run::format::envelope::{HEADER_BYTES, Trailer, header_of};
use crate::run::format::filter::filter_hash;
use crate::run::format::footer::{Extent, Footer, SectionEntry};
use crate::run::format::index::SectionIndex;
use crate::run::order::Address;
use crate::run::reader::RunReader;
use crate::run::source::ReadAt;

/// A verification that can stop between sections and go on later.
pub struct Verification<'r, R> {
    run: &'r RunReader<R>,
    next: usize,
    checksum: u32,
}

impl<R: ReadAt> RunReader<R> {
    /// Reads and checks every byte; answers the checksum of the file, which the handle of the run names.
    ///
    /// # Errors
    /// When the run is damaged or cannot be read.
    pub fn verify(&self) -> Result<u32, RunError> {
        let mut verification = self.verification();
        loop {
            if let Some(checksum) = verification.advance()? {
                return Ok(checksum);
            }
        }
    }

    /// A verification in steps.
    #[must_use]
    pub fn verification(&self) -> Verification<'_, R> {
        Verification {
            run: self,
            next: 0,
            checksum: checksum(&header_of(self.version())),
        }
    }
}

impl<R: ReadAt> Verification<'_, R> {
    /// Checks the next section; answers the checksum of the file when all is checked.
    ///
    /// # Errors
    /// When the run is damaged or cannot be read.
    pub fn advance(&mut self) -> Result<Option<u32>, RunError> {
        if let Some(section) = self.run.sections().get(self.next) {
            self.section(section)?;
            self.next += 1;
            return Ok(None);
        }
        let start = self
            .run
            .sections()
            .last()
            .map_or(HEADER_BYTES as u64, SectionEntry::end);
        let mut rest = Vec::new();
        self.run.read(start, self.run.length() - start, &mut rest)?;
        let footer = rest.split_last_chunk();
        let same = footer.is_some_and(|(footer, trailer)| {
            let trailer = Trailer::read(trailer, self.run.version());
            trailer.is_some_and(|trailer| trailer.footer_checksum == checksum(footer))
        });
        if !same {
            return Err(self
                .run
                .damaged(start, "the footer is not what it was when it was opened"));
        }
        Ok(Some(checksum_onward(self.checksum, &rest)))
    }

    fn section(&mut self, section: &SectionEntry) -> Result<(), RunError> {
        let run = self.run;
        let mut index_bytes = Vec::new();
        let index = run.read_index(section, &mut index_bytes)?;
        let mut seen = Seen::default();
        let mut block = Vec::new();
        for at in 0..index.blocks.len() {
            let offset = run.read_block(section, &index, at, &mut block)?;
            let wrong = |(at, what)| run.damaged(offset + at as u64, what);
            seen.block(run.footer(), &index, at, &block)
                .map_err(wrong)?;
            self.checksum = checksum_onward(self.checksum, &block);
        }
        if !seen.is_all_of(section) {
            let what = "a section does not hold what the footer says";
            return Err(run.damaged(section.offset, what));
        }
        self.checksum = checksum_onward(self.checksum, &index_bytes);
        Ok(())
    }
}

/// What was seen of a section.
#[derive(Default)]
struct Seen {
    extents: Vec<Extent>,
    first: Option<Last>,
    last: Option<Last>,
}

/// An address kept.
#[derive(Clone, Default)]
struct Last {
    state: u16,
    group: u16,
    key: Vec<u8>,
    namespace: Vec<u8>,
}

impl Last {
    fn of(address: Address<'_>) -> Last {
        Last {
            state: address.state,
            group: address.group.0,
            key: address.key.to_owned(),
            namespace: address.namespace.to_owned(),
        }
    }

    fn address(&self) -> Address<'_> {
        let Last {
            state,
            group,
            key,
            namespace,
        } = self;
        Address {
            state: *state,
            group: thalweg_core::KeyGroup(*group),
            key,
            namespace,
        }
    }
}

impl Seen {
    /// Goes through one block; an error says where in it, and what is wrong.
    fn block(
        &mut self,
        footer: &Footer,
        index: &SectionIndex,
        at: usize,
        block: &[u8],
    ) -> Result<(), (usize, &'static str)> {
        let entry = &index.blocks[at];
        let mut cursor = RowCursor::new(footer.states.len());
        let mut rows = 0_u32;
        let mut before: Option<RowCursor> = None;
        loop {
            let start = cursor.position();
            if !cursor.advance(block).map_err(|what| (start, what))? {
                break;
            }
            let row = cursor.row(block);
            let address = Address::of(cursor.state(), &row);
            if rows == 0 && address != index.first(entry) {
                return Err((start, "a block does not begin as the index says"));
            }
            let behind = match (&before, &self.last) {
                (Some(before), _) => Address::of(before.state(), &before.row(block)) < address,
                (None, Some(last)) => last.address() < address,
                (None, None) => true,
            };
            if !behind {
                return Err((start, "a row is not behind the row before"));
            }
            let may_hold = |namespace| {
                let hash = filter_hash(address.state, row.key, namespace);
                index.filter.may_hold(hash)
            };
            if !may_hold(row.namespace) {
                return Err((start, "the filter denies a row"));
            }
            if footer.known_by_key.contains(&address.state) && !may_hold(&[]) {
                return Err((start, "the filter denies a key"));
            }
            self.first.get_or_insert_with(|| Last::of(address));
            before = Some(cursor.clone());
            self.count(&cursor);
            rows += 1;
        }
        self.last = before.map(|last| Last::of(Address::of(last.state(), &last.row(block))));
        if rows == 0 || rows != entry.rows {
            return Err((0, "a block does not hold as many rows as the index says"));
        }
        Ok(())
    }

    fn count(&mut self, row: &RowCursor) {
        let (state, group) = (row.state(), thalweg_core::KeyGroup(row.group()));
        let (put, tombstone) = (u32::from(row.is_put()), u32::from(!row.is_put()));
        match self
            .extents
            .last_mut()
            .filter(|extent| extent.state == state)
        {
            Some(extent) => {
                extent.last = group;
                extent.puts += put;
                extent.tombstones += tombstone;
            }
            None => self.extents.push(Extent {
                state,
                first: group,
                last: group,
                puts: put,
                tombstones: tombstone,
            }),
        }
    }

    fn is_all_of(&self, section: &SectionEntry) -> bool {
        let first = self.first.as_ref().map(Last::address);
        let last = self.last.as_ref().map(Last::address);
        self.extents == section.extents && first == section.first() && last == section.last()
    }
}
