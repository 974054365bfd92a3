//! The end of a job, and who starts it again after that.

mod cancelled;
mod identities;
