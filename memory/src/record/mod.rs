//! One datum: what may travel, how it is written into a segment and read where it lies.
//!
//! [`Record`] is the owned value users see; [`Item`] adds what may be borrowed on the way ([`Str`],
//! [`View`], [`KeyValue`]); [`Wire`] is an item that can be written and read; [`Key`] one that state can
//! be kept under; [`SavedRecord`] keeps a record as bytes; [`Schema`] says what a type is made of. The only room of
//! the engine that knows rkyv.
//!
//! Invariant: an item and the record it borrows from have the same archive (`Wire::Form`), so what was
//! written as `&str` may be read as `String`, and the other way round. Nothing here holds state; usable
//! on any thread.
//!
//! A type that cannot travel is refused when the program is compiled:
//!
//! ```compile_fail,E0277
//! fn travels<R: thalweg_memory::Record>() {}
//! travels::<std::rc::Rc<u64>>();
//! ```
//! ```compile_fail,E0277
//! fn travels<R: thalweg_memory::Record>() {}
//! travels::<(u64, std::time::Instant)>();
//! ```
//! ```compile_fail,E0277
//! #[thalweg_memory::record(crate = thalweg_memory)]
//! struct Session {
//!     started: std::time::Instant,
//! }
//! ```
//! while these can:
//!
//! ```
//! use thalweg_memory::record;
//!
//! #[record(crate = thalweg_memory)]
//! #[derive(Debug, PartialEq)]
//! struct Reading {
//!     sensor: u64,
//!     unit: String,
//!     values: Vec<f64>,
//! }
//! fn travels<R: thalweg_memory::Record>() {}
//! travels::<Reading>();
//! travels::<(u64, Option<Reading>)>();
//! ```

mod archive;
mod key;
pub mod order;
mod provided;
mod saved;
pub mod schema;
mod view;

#[doc(hidden)]
pub use rkyv;
/// Makes a struct or enum a [`Record`]: derives its archive, and [`RecordKey`] with `#[record(key)]`.
pub use thalweg_macros::record;

pub use archive::{Archiver, Checker, Damaged, Full, Reviver};
pub use key::{Key, RecordKey};
pub use order::DamagedKey;
pub use saved::SavedRecord;
pub use schema::{Schema, SchemaWriter};
#[doc(hidden)]
pub use thalweg_core::key_group::KeyHash;
pub(crate) use view::ArchivedOf;
pub use view::{Item, KeyValue, Str, View, Wire};

/// An owned value that can be written into a segment, cross between shards and hosts, and be kept.
///
/// Implemented by `#[record]` for structs and enums, and here for numbers, `bool`, `char`, strings,
/// options, results, vectors, arrays, tuples to 12, boxes and ordered maps and sets. Not for `usize` and
/// `isize` (their width differs between machines), hash maps (their order differs between runs), and
/// whatever refers to something else (`Rc`, `Arc`, references).
///
/// A type may contain itself, behind boxes and collections; a record that crosses between processes may
/// nest 256 of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between shards",
    label = "not a record",
    note = "add `#[record]` to the definition of `{Self}` if it is yours",
    note = "`usize`, hash maps, `Rc`, `Arc`, references and clocks are no records: use `u64`, `BTreeMap`, owned values, milliseconds"
)]
pub trait Record:
    rkyv::Archive<Archived: rkyv::Deserialize<Self, Reviver> + rkyv::bytecheck::CheckBytes<Checker>>
    + rkyv::Serialize<Archiver>
    + Sized
    + Send
    + 'static
{
    /// Whether its archive may have parts beside its root. Without, it is written at a fixed stride.
    #[doc(hidden)]
    const OUT_OF_LINE: bool = size_of::<Self::Resolver>() != 0;

    /// Says what the type is made of ([`Schema`]): types whose archives differ say different things.
    fn describe(to: &mut SchemaWriter);

    /// Bytes it holds on the heap, for memory accounting; an estimate from lengths and capacities.
    fn heap_bytes(&self) -> usize {
        0
    }

    /// The same value once more, of what takes no memory but its own; none of anything else.
    #[doc(hidden)]
    #[inline]
    fn plain_copy(&self) -> Option<Self> {
        None
    }
}
