//! Places in checkpoint storage, and the names that may be in them.
//!
//! Entered with what a user wrote and with names the engine made. Invariant: a location is an absolute path;
//! below what the user wrote it goes only through plain names, so that no name leads out of its directory.

use std::fmt;
use std::path::{Path, PathBuf};

/// The longest name of a file.
const MAX_NAME: usize = 200;

/// Whether a name can stand in a directory and nowhere else: not empty, not hidden, no separator, at most 200
/// bytes of letters, digits and `-_.`.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

/// An absolute place in storage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(PathBuf);

/// Why a text is no location.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// Storage of another kind.
    #[error(
        "`{address}` asks for storage of the kind `{scheme}:`; there are paths and `file:` addresses"
    )]
    Scheme {
        /// What was written.
        address: String,
        /// Its scheme.
        scheme: String,
    },
    /// A `file:` address of another host, or none at all.
    #[error("`{0}` names no path of this host: write `/path` or `file:///path`")]
    NoPath(String),
    /// A relative path, and the current directory cannot be told.
    #[error("`{address}` cannot be made absolute: {source}; write an absolute path")]
    Relative {
        /// What was written.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl Location {
    /// What a user wrote: an absolute or relative path, or a `file:` address.
    ///
    /// # Errors
    /// When it is another kind of storage or no path.
    pub fn parse(text: &str) -> Result<Location, LocationError> {
        let address = || text.to_owned();
        let path = match text.split_once(':') {
            Some(("file", rest)) => match rest.strip_prefix("//") {
                Some(path) if path.starts_with('/') => path,
                Some(_) => return Err(LocationError::NoPath(address())),
                None => rest,
            },
            // A path may hold a colon; a scheme is letters before `://`.
            Some((scheme, rest))
                if rest.starts_with("//") && scheme.bytes().all(|b| b.is_ascii_alphanumeric()) =>
            {
                return Err(LocationError::Scheme {
                    address: address(),
                    scheme: scheme.to_owned(),
                });
            }
            _ => text,
        };
        if path.is_empty() {
            return Err(LocationError::NoPath(address()));
        }
        match std::path::absolute(path) {
            Ok(path) => Ok(Location(path)),
            Err(source) => Err(LocationError::Relative {
                address: address(),
                source,
            }),
        }
    }

    /// The place called `name` in this directory.
    ///
    /// # Panics
    /// When the name is not plain: names from outside are checked when they are read.
    #[must_use]
    pub fn child(&self, name: &str) -> Location {
        assert!(is_plain_name(name), "{name:?} is no plain name");
        Location(self.0.join(name))
    }

    /// The directory it lies in; `None` for the root of everything.
    #[must_use]
    pub fn parent(&self) -> Option<Location> {
        self.0.parent().map(|parent| Location(parent.to_owned()))
    }

    /// The last name of the path; empty at the root of everything.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.0.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    /// As a path of this host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_file_addresses_are_places() {
        let place = |text: &str| Location::parse(text).unwrap().to_string();
        assert_eq!(place("/a/b"), "/a/b");
        assert_eq!(place("file:///a/b"), "/a/b");
        assert_eq!(place("file:/a:b"), "/a:b");
        assert_eq!(place("/a:b"), "/a:b");
        assert!(place("a").ends_with("/a") && place("a").starts_with('/'));
        let chk = Location::parse("/a").unwrap().child("chk-3");
        assert_eq!((chk.name(), chk.parent().unwrap().name()), ("chk-3", "a"));
    }

    #[test]
    fn other_storage_is_refused_by_name() {
        let refusal = |text: &str| Location::parse(text).unwrap_err().to_string();
        assert!(refusal("s3://bucket/x").contains("`s3:`"));
        assert!(refusal("hdfs:///x").contains("`hdfs:`"));
        assert!(refusal("file://host/x").contains("no path of this host"));
        assert!(refusal("").contains("no path"));
        assert!(refusal("file://").contains("no path"));
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_plain() {
        for name in ["chk-1", "_metadata", "0f-3.run", &"x".repeat(200)] {
            assert!(is_plain_name(name), "{name}");
        }
        let hostile = [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "/a",
            "..\\a",
            "a\0b",
            "a\n",
            "%2e%2e",
            "a b",
            "ä",
            "a:b",
            "~",
            "$HOME",
            "*",
            &"x".repeat(201),
        ];
        for name in hostile {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
