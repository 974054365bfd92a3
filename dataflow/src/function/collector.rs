//! Where a user function puts its results.

use std::any::TypeId;
use std::marker::PhantomData;

use thalweg_core::event_time::Timestamp;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::record::{Item, Record};

use crate::task::{Push, SideOutputs};

/// The output of a user function: the main stream and the side outputs.
///
/// Results take the event time of the record they come from.
pub struct Collector<'c, U: Item> {
    next: &'c mut dyn Push<U>,
    at: Timestamp,
    side: &'c SideOutputs,
}

impl<'c, U: Item> Collector<'c, U> {
    #[inline(always)]
    pub(crate) fn new(next: &'c mut dyn Push<U>, at: Timestamp, side: &'c SideOutputs) -> Self {
        Self { next, at, side }
    }

    /// Emits one record.
    #[inline(always)]
    pub fn emit(&mut self, item: U::Of<'_>) {
        self.next.push(item, self.at);
    }

    /// Emits a value to a side output. Without a reader of the tag it is dropped.
    pub fn side<S: Record>(&mut self, tag: &OutputTag<S>, value: S) {
        self.side.write(tag.id(), value, self.at);
    }
}

/// Names a side output and the type of its records.
///
/// Tags of one name and type are the same tag.
pub struct OutputTag<T> {
    name: &'static str,
    item: PhantomData<fn(T)>,
}

impl<T: Record> OutputTag<T> {
    /// The tag of this name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            item: PhantomData,
        }
    }

    /// The tag's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn id(&self) -> u64 {
        use std::hash::{Hash, Hasher};
        let mut hasher = TagHasher(KeyHash::of_bytes(self.name.as_bytes()));
        TypeId::of::<T>().hash(&mut hasher);
        hasher.finish()
    }
}

impl<T> Clone for OutputTag<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for OutputTag<T> {}

/// Folds a type's identity into the name's hash.
struct TagHasher(KeyHash);

impl std::hash::Hasher for TagHasher {
    fn finish(&self) -> u64 {
        self.0.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = self.0.combine(KeyHash::of_bytes(bytes));
    }
}
