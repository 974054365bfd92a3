//! The elements of one list, lent one after the other.
//!
//! Handed to the closure that reads a list. Invariant: what has expired and may not be shown is passed
//! over. Lives on one shard's thread.

use std::slice;
use std::vec;

/// An iterator over the elements of a list, in the order in which they were added.
pub struct ListElements<'a, V> {
    part: Part<'a, V>,
    rest: vec::IntoIter<Part<'a, V>>,
}

pub(super) enum Part<'a, V> {
    Lasting(slice::Iter<'a, V>),
    /// Elements with when they were touched; those touched before are not shown.
    Expiring(slice::Iter<'a, (V, i64)>, Option<i64>),
}

impl<'a, V> ListElements<'a, V> {
    pub(super) fn new(mut parts: impl Iterator<Item = Part<'a, V>>) -> ListElements<'a, V> {
        // Most lists have one part: then this allocates nothing.
        let part = parts.next().unwrap_or(Part::Lasting([].iter()));
        let rest = parts.collect::<Vec<_>>().into_iter();
        ListElements { part, rest }
    }
}

impl<'a, V> Iterator for ListElements<'a, V> {
    type Item = &'a V;

    #[inline]
    fn next(&mut self) -> Option<&'a V> {
        loop {
            let next = match &mut self.part {
                Part::Lasting(elements) => elements.next(),
                Part::Expiring(elements, from) => elements
                    .find(|element| from.is_none_or(|from| element.1 >= from))
                    .map(|element| &element.0),
            };
            if next.is_some() {
                return next;
            }
            self.part = self.rest.next()?;
        }
    }
}
