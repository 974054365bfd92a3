//! Places in checkpoint storage, and the names that may be in them.
//!
//! Entered with what a user wrote and with names the engine made. Invariant: a location is an absolute path of this
//! host or in an object store; below what the user wrote it goes only through plain names, so that no name leads out
//! of its directory.

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

/// An absolute place in storage: a path of this host, or a name in an object store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Which object store, such as `s3://bucket`; none for a path of this host.
    store: Option<String>,
    /// Absolute; in an object store the name with a `/` before it.
    path: PathBuf,
}

/// Why a text is no location.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// Storage of another kind.
    #[error(
        "`{address}` asks for storage of the kind `{scheme}:`; there are paths and addresses that begin with \
         `file:`, `memory:` or `s3:`"
    )]
    Scheme {
        /// What was written.
        address: String,
        /// Its scheme.
        scheme: String,
    },
    /// This program was built without it.
    #[error(
        "`{address}` is in an object store, which this program was built without: build it with the cargo \
         feature `{feature}`"
    )]
    NotBuilt {
        /// What was written.
        address: String,
        /// The feature that brings it.
        feature: &'static str,
    },
    /// An address of an object store that is none.
    #[error("`{address}` names no place in an object store: {why}")]
    NoObject {
        /// What was written.
        address: String,
        /// What is wrong with it.
        why: &'static str,
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
    /// What a user wrote: an absolute or relative path, or an address that begins with `file:`, `memory:///` or
    /// `s3://`.
    ///
    /// # Errors
    /// When it is another kind of storage, one that this program was built without, or no place in it.
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
                return Location::object(scheme, &rest["//".len()..], text);
            }
            _ => text,
        };
        if path.is_empty() {
            return Err(LocationError::NoPath(address()));
        }
        match std::path::absolute(path) {
            Ok(path) => Ok(Location { store: None, path }),
            Err(source) => Err(LocationError::Relative {
                address: address(),
                source,
            }),
        }
    }

    /// A place in an object store.
    fn object(scheme: &str, rest: &str, text: &str) -> Result<Location, LocationError> {
        let address = text.to_owned();
        let no_object = |why| {
            let address = text.to_owned();
            Err(LocationError::NoObject { address, why })
        };
        let (host, name) = rest.split_once('/').unwrap_or((rest, ""));
        let (feature, is_built) = match scheme {
            "memory" if !host.is_empty() => return no_object("write `memory:///name`"),
            "memory" => ("object-store", cfg!(feature = "object-store")),
            "s3" if host.is_empty() => return no_object("write `s3://bucket/name`"),
            "s3" => ("s3", cfg!(feature = "s3")),
            _ => {
                let scheme = scheme.to_owned();
                return Err(LocationError::Scheme { address, scheme });
            }
        };
        if !is_built {
            return Err(LocationError::NotBuilt { address, feature });
        }
        let mut path = PathBuf::from("/");
        for part in name.split('/').filter(|part| !part.is_empty()) {
            if part == "." || part == ".." || part.chars().any(char::is_control) {
                return no_object(
                    "parts of the name are not `.` or `..` and have no control characters",
                );
            }
            path.push(part);
        }
        if path.parent().is_none() {
            return no_object("name a place in it, such as `s3://bucket/checkpoints`");
        }
        let store = Some(format!("{scheme}://{host}"));
        Ok(Location { store, path })
    }

    /// The place called `name` in this directory.
    ///
    /// # Panics
    /// When the name is not plain: names from outside are checked when they are read.
    #[must_use]
    pub fn child(&self, name: &str) -> Location {
        assert!(is_plain_name(name), "{name:?} is no plain name");
        Location {
            store: self.store.clone(),
            path: self.path.join(name),
        }
    }

    /// The directory it lies in; `None` for the root of everything.
    #[must_use]
    pub fn parent(&self) -> Option<Location> {
        self.path.parent().map(|parent| Location {
            store: self.store.clone(),
            path: parent.to_owned(),
        })
    }

    /// The last name of the path; empty at the root of everything.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.unwrap_or_default()
    }

    /// As a path of this host; `None` for a place in an object store.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.store.is_none().then_some(&self.path)
    }

    /// As a place in an object store: its address, such as `s3://bucket`, and the name in it, without a `/` at
    /// its beginning. `None` for a path of this host.
    #[must_use]
    pub fn in_store(&self) -> Option<(&str, &str)> {
        let name = self.path.to_str()?.trim_start_matches('/');
        self.store.as_deref().map(|store| (store, name))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.store.as_deref().unwrap_or_default())?;
        self.path.display().fmt(f)
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
        assert!(refusal("gs://bucket/x").contains("`gs:`"));
        assert!(refusal("hdfs:///x").contains("`hdfs:`"));
        assert!(refusal("file://host/x").contains("no path of this host"));
        assert!(refusal("").contains("no path"));
        assert!(refusal("file://").contains("no path"));
    }

    #[test]
    fn object_stores_are_places_where_they_are_built_in() {
        let built = |text: &str, feature: &str, is_built: bool| match Location::parse(text) {
            Ok(place) => {
                assert!(is_built, "{text}");
                assert_eq!(place.to_string(), text);
                assert_eq!(place.path(), None);
                Some(place)
            }
            Err(error) => {
                assert!(!is_built && error.to_string().contains(feature), "{error}");
                None
            }
        };
        let memory = built(
            "memory:///a/b",
            "`object-store`",
            cfg!(feature = "object-store"),
        );
        if let Some(place) = memory {
            assert_eq!(place.in_store(), Some(("memory://", "a/b")));
            let child = place.child("chk-1");
            assert_eq!(child.to_string(), "memory:///a/b/chk-1");
            assert_eq!(child.parent(), Some(place));
        }
        if let Some(place) = built("s3://bucket/c", "`s3`", cfg!(feature = "s3")) {
            assert_eq!(place.in_store(), Some(("s3://bucket", "c")));
        }
        for text in ["memory://host/a", "s3:///a"] {
            let refused = Location::parse(text).unwrap_err().to_string();
            assert!(refused.contains("names no place"), "{refused}");
        }
        if cfg!(feature = "object-store") {
            for text in ["memory:///", "memory:///a/../b", "memory:///a\nb"] {
                assert!(Location::parse(text).is_err(), "{text:?}");
            }
        }
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
