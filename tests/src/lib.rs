//! The tests that need more than one crate, or the whole house.
//!
//! Nothing depends on this package and its library is empty: the tests are its `[[test]]` targets.
#![forbid(unsafe_code)]
