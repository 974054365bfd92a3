//! Names in a directory of checkpoints, and places as users write them: any text.
//!
//! A name that is read is written the same; no name that is plain leads out of its directory; a place is shown as a
//! text that means the same.

use thalweg_cluster::checkpoint::home::JobLayout;
use thalweg_cluster::checkpoint::storage::{Location, is_plain_name};

/// Throws bytes at it.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(root) = Location::parse("/checkpoints") else {
        unreachable!("it is a path")
    };
    let layout = JobLayout::at(root.clone());
    if let Some(checkpoint) = JobLayout::checkpoint_of(text) {
        assert_eq!(layout.checkpoint(checkpoint).name(), text);
    }
    if let Some(sequence) = JobLayout::pointer_of(text) {
        assert_eq!(layout.pointer(sequence).name(), text);
    }
    if let Some(job) = JobLayout::job_of(text) {
        assert_eq!(JobLayout::new(&root, job).home().name(), text);
    }
    if is_plain_name(text) {
        let child = root.child(text);
        assert_eq!(child.parent(), Some(root));
        assert_eq!(child.name(), text);
    }
    if let Ok(place) = Location::parse(text) {
        let shown = place.to_string();
        let again = Location::parse(&shown);
        assert_eq!(again.ok(), Some(place), "{text:?} is shown as {shown:?}");
    }
}
