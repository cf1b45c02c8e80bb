//! Where the files may be that others name: the debug file of a binary (`.gnu_debuglink`), and what debug files share
//! (`.gnu_debugaltlink`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Sources;

/// What a binary says of its debug file.
#[derive(Clone, Debug)]
pub(super) struct DebugLink {
    /// The binary.
    pub(super) binary: PathBuf,
    /// The debug file's name, without a folder.
    pub(super) name: PathBuf,
    /// CRC-32 of the whole debug file.
    pub(super) checksum: u32,
}

impl DebugLink {
    /// The link of a binary; a name with a folder in it could lead anywhere, and is refused.
    pub(super) fn new(binary: &Path, name: &[u8], checksum: u32) -> Option<Self> {
        let name = Path::new(OsStr::from_bytes(name));
        let is_plain = Some(name.as_os_str()) == name.file_name();
        is_plain.then(|| Self { binary: binary.to_owned(), name: name.to_owned(), checksum })
    }

    /// The places where gdb looks too, and the same in the folders given with `--symbols`.
    pub(super) fn paths(&self, sources: &Sources) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let real = self.binary.canonicalize().ok();
        for binary in [Some(&self.binary), real.as_ref()].into_iter().flatten() {
            let Some(folder) = binary.parent() else { continue };
            paths.extend([folder.join(&self.name), folder.join(".debug").join(&self.name)]);
            let below_root = folder.strip_prefix("/").unwrap_or(folder);
            for root in sources.folders.iter().chain([&sources.system_debug]) {
                paths.push(root.join(below_root).join(&self.name));
            }
        }
        paths.extend(sources.folders.iter().map(|folder| folder.join(&self.name)));
        without_repetition(paths)
    }
}

/// Where a debug file says that the file is which it shares with others: seen from itself, or from where a link to it
/// leads.
pub(super) fn alt_link_paths(debug_file: &Path, name: &[u8]) -> Vec<PathBuf> {
    let places = [std::path::absolute(debug_file).ok(), debug_file.canonicalize().ok()];
    let folders = places.iter().flatten().filter_map(|place| place.parent());
    without_repetition(folders.map(|folder| folder.join(OsStr::from_bytes(name))).collect())
}

fn without_repetition(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut once: Vec<PathBuf> = Vec::with_capacity(paths.len());
    for path in paths {
        if !once.contains(&path) {
            once.push(path);
        }
    }
    once
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::hints::require_harmless;
    use super::*;

    /// A debug link that names a folder could lead anywhere: it is refused.
    #[test]
    fn refuses_a_debug_link_with_a_folder() {
        assert!(DebugLink::new(Path::new("/bin/sh"), b"../x", 0).is_none());
        assert!(DebugLink::new(Path::new("/bin/sh"), b"", 0).is_none());
        let link = DebugLink::new(Path::new("/nonexistent/b/prog"), b"prog.debug", 0).unwrap();
        let sources = Sources { folders: vec!["/s".into()], system_debug: "/d".into(), ..Sources::default() };
        let expected = [
            "/nonexistent/b/prog.debug",
            "/nonexistent/b/.debug/prog.debug",
            "/s/nonexistent/b/prog.debug",
            "/d/nonexistent/b/prog.debug",
            "/s/prog.debug",
        ];
        assert_eq!(link.paths(&sources), expected.map(PathBuf::from));
    }

    /// What debug files share is named relative to them, or with its whole path.
    #[test]
    fn shared_debug_info_is_where_the_debug_file_says() {
        let at = |name| alt_link_paths(Path::new("/nonexistent/a.debug"), name);
        assert_eq!(at(b"../.dwz/c"), [PathBuf::from("/nonexistent/../.dwz/c")]);
        assert_eq!(at(b"/usr/lib/debug/.dwz/c"), [PathBuf::from("/usr/lib/debug/.dwz/c")]);
    }

    proptest! {
        /// Whatever name is in `.gnu_debuglink`, it leads to that name in the known folders, or nowhere.
        #[test]
        fn any_debug_link_stays_in_its_folders(name in prop::collection::vec(any::<u8>(), 0..12)) {
            let sources = Sources { folders: vec!["/s".into()], system_debug: "/d".into(), ..Sources::default() };
            if let Some(link) = DebugLink::new(Path::new("/nonexistent/prog"), &name, 0) {
                let folders = ["/nonexistent", "/nonexistent/.debug", "/s", "/s/nonexistent", "/d/nonexistent"];
                for path in link.paths(&sources) {
                    prop_assert!(folders.iter().any(|folder| path.parent() == Some(Path::new(folder))), "{path:?}");
                }
            }
        }

        /// Whatever path is in `.gnu_debugaltlink`: what is not to be opened is refused before.
        #[test]
        fn any_alt_link_is_looked_at_first(name in "(/|\\.\\./|proc|sys|dev|x|\\PC){0,6}") {
            for path in alt_link_paths(Path::new("/usr/lib/a.debug"), name.as_bytes()) {
                let real = path.canonicalize().unwrap_or_default();
                let is_kernels_own = ["/proc", "/sys", "/dev"].iter().any(|folder| real.starts_with(folder));
                prop_assert!(!is_kernels_own || require_harmless(&path).is_err(), "{path:?}");
            }
        }
    }
}
