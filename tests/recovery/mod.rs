//! Jobs that fail and begin again: nothing is lost, nothing is there twice.
//!
//! A program counts in every kind of state, with timers and windows, and writes files. A function in it
//! panics at drawn records as often as it is told to; each time the job is begun again from its newest
//! checkpoint, and in the end its files hold exactly what a job that never failed writes. So do they when it is
//! stopped with savepoints on the way.

mod broadcast;
mod changes;
mod counting;
mod crash_points;
mod damaged;
mod ends;
mod functions_on_disk;
mod joins_on_disk;
mod larger;
mod late;
mod lists;
mod objects;
mod pressure;
mod regions;
mod requests;
mod restarts;
mod restores;
mod savepoints;
mod timers_on_disk;
mod watched;
mod windows_on_disk;
