//! Which files of a directory are read.
//!
//! Asked on control threads and, by the monitor, on its shard. Plain data.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::glob::matches;

/// Whether a file is wanted, as a program says.
type Wanted = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// Chooses files by their paths below the directory that is read.
#[derive(Clone, Default)]
pub(crate) struct PathFilter {
    include: Vec<String>,
    exclude: Vec<String>,
    wanted: Vec<Wanted>,
}

impl PathFilter {
    pub(crate) fn include(&mut self, pattern: String) {
        self.include.push(pattern);
    }

    pub(crate) fn exclude(&mut self, pattern: String) {
        self.exclude.push(pattern);
    }

    pub(crate) fn wanted(&mut self, wanted: impl Fn(&Path) -> bool + Send + Sync + 'static) {
        self.wanted.push(Arc::new(wanted));
    }

    /// Whether a file is to be read; `path` is that below the directory.
    pub(crate) fn admits(&self, path: &Path) -> bool {
        let named = |pattern: &String| is(pattern, path);
        (self.include.is_empty() || self.include.iter().any(named))
            && !self.exclude.iter().any(named)
            && self.wanted.iter().all(|wanted| wanted(path))
    }
}

/// A pattern without a `/` is about the file's name, wherever the file lies.
fn is(pattern: &str, path: &Path) -> bool {
    let subject = match pattern.contains('/') {
        true => path.as_os_str(),
        false => path.file_name().unwrap_or_default(),
    };
    matches(pattern.as_bytes(), subject.as_bytes())
}

impl fmt::Debug for PathFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathFilter")
            .field("include", &self.include)
            .field("exclude", &self.exclude)
            .field("functions", &self.wanted.len())
            .finish()
    }
}

/// Whether a name is not that of data: markers and what is still being written, `.…`, `_…` and
/// `….inprogress`.
pub(crate) fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    matches!(name, [b'.' | b'_', ..]) || name.ends_with(b".inprogress")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_must_be_included_and_not_excluded_and_wanted() {
        let mut filter = PathFilter::default();
        assert!(filter.admits(Path::new("any/thing")));
        filter.include("*.log".to_owned());
        filter.include("raw/**".to_owned());
        filter.exclude("debug*".to_owned());
        filter.wanted(|path| path.components().count() < 3);
        for (path, admitted) in [
            ("a.log", true),
            ("in/a.log", true),
            ("a.txt", false),
            ("raw/a.txt", true),
            ("in/debug.log", false),
            ("raw/in/deep", false),
        ] {
            assert_eq!(filter.admits(Path::new(path)), admitted, "{path}");
        }
    }
}
