//! memory/macros
