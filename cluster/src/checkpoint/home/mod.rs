//! The directory of one job's checkpoints.
//!
//! | room | what it is |
//! |---|---|
//! | [`layout`] | the names in it |
//! | [`mod@pointer`] | which checkpoint is the newest |
//! | [`ended`] | that it has ended |
//! | `newest` | what the pointers say together, and what of them is damage |
//! | [`mod@find`] | reading a checkpoint |
//! | [`older`] | the newest that is whole, where that is allowed |
//! | [`damage`] | what can be wrong with one |
//! | [`mod@keys`] | how many keys its states hold |
//! | [`takeover`], `overtake` | becoming the one who leads the job's checkpoints |
//! | [`mod@verify`] | what its run files hold, and whether every byte is right |
//!
//! Entered by the control thread, which may block in [`mod@find`] and [`takeover`]. Invariant: what is the newest is
//! said by one file that is created and never changed.

pub mod damage;
pub mod ended;
pub mod find;
pub mod keys;
pub mod layout;
mod newest;
pub mod older;
mod overtake;
pub mod pointer;
pub mod takeover;
pub mod verify;

pub use damage::Damage;
pub use ended::{Ended, EndedJob};
pub use find::{FindError, Found, find, read};
pub use layout::JobLayout;
pub use pointer::Pointer;
pub use takeover::{Takeover, take_over};
