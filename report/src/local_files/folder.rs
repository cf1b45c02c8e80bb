//! A folder given with `--symbols`: a `.build-id` tree, or any folder of binaries, which is walked
//! once and indexed by identity.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::mapped::MappedFile;

/// How deep below the folder files are looked for.
const MAX_DEPTH: usize = 12;
/// How many files and folders are looked at, at most.
pub(super) const MAX_ENTRIES: usize = 200_000;

/// A folder of binaries or debug files.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    index: OnceLock<Index>,
}

/// What is in a folder.
#[derive(Debug, Default)]
struct Index {
    paths: BTreeMap<Vec<u8>, Vec<PathBuf>>,
    /// There is more than was looked at.
    is_cut: bool,
}

impl Folder {
    /// A folder that is walked when it is first asked.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, index: OnceLock::new() }
    }

    /// Where in this folder a module of this identity may be: in a `.build-id` tree by its name,
    /// then whatever carries that identity.
    pub(super) fn candidates(&self, identity: &[u8]) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for tree in [self.path.join(".build-id"), self.path.clone()] {
            let named = build_id_paths(&tree, identity);
            paths.extend(named.into_iter().filter(|path| path.exists()));
        }
        let index = self.index.get_or_init(|| index_by_identity(&self.path));
        for path in index.paths.get(identity).into_iter().flatten() {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        paths
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is more in it than was looked at.
    pub(super) fn is_cut(&self) -> bool {
        self.index.get().is_some_and(|index| index.is_cut)
    }
}

/// The two names that a file of this build-id has in a `.build-id` tree.
pub(super) fn build_id_paths(tree: &Path, build_id: &[u8]) -> Vec<PathBuf> {
    let hex = hex(build_id);
    if build_id.len() < 2 {
        return Vec::new();
    }
    let (folder, file) = hex.split_at(2);
    vec![tree.join(folder).join(format!("{file}.debug")), tree.join(folder).join(file)]
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every ELF file below `root`, by identity, in the order of their paths. Links to folders are not followed.
fn index_by_identity(root: &Path) -> Index {
    let mut index = Index::default();
    let mut open = vec![(root.to_owned(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = open.pop() {
        for path in sorted_entries(&folder) {
            seen += 1;
            if seen > MAX_ENTRIES {
                index.is_cut = true;
                return index;
            }
            let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
            if is_folder && depth < MAX_DEPTH {
                open.push((path, depth + 1));
            } else if let Some(identity) = identity_of(&path) {
                index.paths.entry(identity).or_default().push(path);
            }
        }
    }
    index.paths.values_mut().for_each(|paths| paths.sort());
    index
}

/// What is in a folder; a folder that cannot be read has nothing to offer.
fn sorted_entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.map(|entry| entry.path()).ok()).collect();
    paths.sort();
    paths
}

/// The identity of a file; none when it is no readable ELF file, as most files are.
fn identity_of(path: &Path) -> Option<Vec<u8>> {
    let contents = MappedFile::open(path).ok()?.contents().ok()?;
    (!contents.identity.is_empty()).then_some(contents.identity)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A build-id becomes the two names that gdb, perf and debuginfod use.
    #[test]
    fn names_the_files_of_a_build_id() {
        let paths = build_id_paths(Path::new("/d"), &[0xab, 0xcd, 0x01]);
        assert_eq!(paths, [PathBuf::from("/d/ab/cd01.debug"), PathBuf::from("/d/ab/cd01")]);
    }

    /// An id of one byte or none has no name in a tree, and is no panic.
    #[test]
    fn short_build_ids_have_no_name() {
        assert!(build_id_paths(Path::new("/d"), &[]).is_empty());
        assert!(build_id_paths(Path::new("/d"), &[1]).is_empty());
    }

    /// A binary somewhere below the folder is found by its build-id, under whatever name.
    #[test]
    fn finds_a_binary_below_the_folder() {
        let Some(libc) =
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6"].iter().map(Path::new).find(|p| p.exists())
        else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::copy(libc, below.join("renamed")).unwrap();
        let build_id = MappedFile::open(libc).unwrap().contents().unwrap().identity;
        let found = Folder::new(folder.path().to_owned()).candidates(&build_id);
        assert_eq!(found, [below.join("renamed")]);
    }
}
