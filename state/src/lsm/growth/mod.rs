//! What records add to a state beside its arrays, as it was seen lately: so many records are applied at once as
//! there is memory for.
//!
//! Entered before records are applied, and when a turn begins or ends. Invariant: what comes from disk is not
//! counted. Lives on one shard's thread.

#[cfg(test)]
mod tests;

/// Of what is counted a part is forgotten with each batch: one in so many.
const FORGOTTEN: u64 = 64;
/// A record adds a part of what an entry holds on average, or more: one in so many.
const PART: u64 = 4;

/// What records add.
#[derive(Default)]
pub(super) struct Growth {
    /// What was held when the last records were let in, and how many those are.
    begun: Option<(u64, usize)>,
    /// Bytes that a record adds.
    each: u64,
}

impl Growth {
    /// The records that were let in are applied, those for which there was everything; so many bytes are held now.
    pub(super) fn end(&mut self, held: u64) {
        if let Some((before, records)) = self.begun.take() {
            let added = held.saturating_sub(before).div_ceil(records as u64);
            self.each = added.max(self.each - self.each.div_ceil(FORGOTTEN));
        }
    }

    /// Lets in as many of some records as `left` bytes suffice for, one at least; `entries` hold so many now.
    pub(super) fn let_in(
        &mut self,
        records: usize,
        left: u64,
        (held, entries): (u64, usize),
    ) -> usize {
        self.end(held);
        let each = self.each.max(held / (entries.max(1) as u64 * PART));
        let fit = left / each.max(1);
        let records = records.min(usize::try_from(fit).unwrap_or(usize::MAX).max(1));
        self.begun = Some((held, records));
        records
    }
}
