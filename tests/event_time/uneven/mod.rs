//! Joins and timers where splits promise too much, fall silent and end before others.
//!
//! Which records are late is not known beforehand then, but must be consistent: what an operator hands
//! out as late may have been late, and of everything else its results are the model's, exactly.

mod joins;
mod script;
mod timers;
