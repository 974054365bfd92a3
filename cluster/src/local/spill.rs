//! Where the state of a local job goes that memory does not hold.
//!
//! Entered by the control thread before the shards of an attempt start. Blocking. Invariant: an attempt has
//! directories of its own, which go with it.

use std::path::PathBuf;

use thalweg_core::config::{Configuration, StateBackendKind, options};
use thalweg_core::error::ErrorKind;
use thalweg_core::seam::simulated::SimDisk;
use thalweg_dataflow::executor::JobError;
use thalweg_memory::SpillSpace;
use thalweg_memory::spill::Quota;

/// Where the simulated disk has its spill files.
const SIMULATED: &str = "/spill";

/// Claims the directories of `io.tmp.dirs`, if the job keeps state on disk.
pub(crate) fn claim(configuration: &Configuration) -> Result<Option<SpillSpace>, JobError> {
    if configuration.get(&options::STATE_BACKEND) == StateBackendKind::Hashmap {
        return Ok(None);
    }
    let places = places_of(configuration.get(&options::TMP_DIRECTORIES).as_deref());
    let claimed = SpillSpace::claim(&places, quota_of(configuration));
    let space = claimed.map_err(|error| JobError::rejected(error.kind(), error.to_string()))?;
    Ok(Some(space.with_direct_reads(
        configuration.get(&options::DIRECT_READS),
    )))
}

/// Claims one directory in the first of `io.tmp.dirs`, for files that are copies of what is kept elsewhere.
#[cfg(feature = "object-store")]
pub(crate) fn claim_one(configuration: &Configuration) -> Result<(SpillSpace, PathBuf), JobError> {
    let mut places = places_of(configuration.get(&options::TMP_DIRECTORIES).as_deref());
    places.truncate(1);
    let claimed = SpillSpace::claim(&places, Quota::unlimited());
    let space = claimed.map_err(|error| JobError::rejected(error.kind(), error.to_string()))?;
    let directory = space.directories()[0].clone();
    Ok((space, directory))
}

/// As [`claim`] on a simulated disk, in a directory named after a drawn number.
pub(crate) fn simulated(
    configuration: &Configuration,
    disk: &SimDisk,
    drawn: u64,
) -> Result<Option<SpillSpace>, JobError> {
    if configuration.get(&options::STATE_BACKEND) == StateBackendKind::Hashmap {
        return Ok(None);
    }
    let place = PathBuf::from(format!("{SIMULATED}/{drawn:016x}"));
    let made = disk.make_directories(&place);
    made.map_err(|error| {
        let message = format!("cannot make directory {}: {error}", place.display());
        JobError::rejected(ErrorKind::of_io(&error), message)
    })?;
    Ok(Some(SpillSpace::lent(vec![place], quota_of(configuration))))
}

fn quota_of(configuration: &Configuration) -> Quota {
    match configuration.get(&options::SPILL_QUOTA).0 {
        0 => Quota::unlimited(),
        bytes => Quota::new(bytes),
    }
}

/// The directories that a setting names, or that of the system.
fn places_of(setting: Option<&str>) -> Vec<PathBuf> {
    let named = setting.unwrap_or_default().split([',', ':']);
    let named = named.map(str::trim).filter(|place| !place.is_empty());
    let places: Vec<PathBuf> = named.map(PathBuf::from).collect();
    match places.is_empty() {
        true => vec![std::env::temp_dir()],
        false => places,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_separated_by_commas_or_colons() {
        let places = places_of(Some("/a/b, /c:/d,"));
        assert_eq!(places, ["/a/b", "/c", "/d"].map(PathBuf::from));
        assert_eq!(places_of(None), [std::env::temp_dir()]);
        assert_eq!(places_of(Some(" ")), [std::env::temp_dir()]);
    }
}
