//! What is thrown at each format and parser of outside bytes, and what must hold then.
//!
//! One file, one target: the fuzzer's programs in `targets/` call them, and `tests/formats` with what was well written
//! and drawn changes of it. Formats that are private to a crate have theirs in its own `fuzz.rs`.

pub(crate) mod archive;
pub(crate) mod configuration;
pub(crate) mod descriptor;
pub(crate) mod in_flight;
pub(crate) mod keys;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod pointer;
pub(crate) mod positions;
pub(crate) mod rows;
pub(crate) mod run;
