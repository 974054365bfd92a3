//! Where checkpoints are kept.
//!
//! | room | what it is |
//! |---|---|
//! | [`contract`] | what storage must do, and what its answers promise |
//! | [`location`] | places, and the names that may be in them |
//! | [`command`] | what the state machines ask for, and its outcome |
//! | [`any`] | storage wherever a location says |
//! | [`directory`] | a directory of a file system: which call comes before which, and why |
//! | [`disk`] | the calls of a file system, of this host |
//! | `object_store` | objects in S3 or in memory, with the feature `object-store`: what a store must promise |
//! | [`run_file`] | a run of this host, read from any place in it |
//! | `whole_file` | length and checksum of a file of this host, from all its bytes |
//! | [`simulated`] | the same on the disk of a simulation, which forgets and fails |
//!
//! Entered by the control thread, which may block. Invariant: what was answered as written survives the loss
//! of power, whole.

pub mod any;
pub mod command;
pub mod contract;
#[cfg(test)]
mod contract_tests;
pub mod directory;
pub mod disk;
pub mod location;
#[cfg(feature = "object-store")]
pub mod object_store;
pub mod run_file;
pub mod simulated;
mod whole_file;

#[cfg(all(test, feature = "object-store"))]
pub(crate) use self::object_store::tests::faulty;
#[cfg(feature = "object-store")]
pub(crate) use self::object_store::{LocalCopies, Moving};
#[cfg(feature = "object-store")]
pub use self::object_store::{ObjectStorage, Patience};
pub use any::AnyStorage;
pub use command::{StorageCommand, perform};
pub use contract::{CheckpointStorage, Entry, StorageError, StorageErrorKind};
pub use directory::DirectoryStorage;
pub use disk::{Disk, HostDisk};
pub use location::{Location, LocationError, is_plain_name};
pub use run_file::RunFile;
