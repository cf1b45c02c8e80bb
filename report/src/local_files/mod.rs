//! Finds the files of this machine that belong to a recording's modules. A file counts only if its
//! identity is the module's: the build-id or, for files without one, the fingerprint of their headers. A
//! path in a recording is a hint, never a proof. In this order:
//!
//! 1. the folders given with `--symbols`
//! 2. the path that the recorded machine had
//! 3. `/usr/lib/debug/.build-id`
//! 4. the debug file that a found binary names (`.gnu_debuglink`), by its checksum

mod folder;
mod mapped;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use profrec_format::ModuleKind;

use crate::evidence::{Evidence, ModuleEvidence};
use crate::modules::LocalBinaries;

pub use folder::hex;
use folder::{Folder, build_id_paths};
pub use mapped::{Contents, MappedFile};

/// Where distributions put separate debug files.
const SYSTEM_DEBUG: &str = "/usr/lib/debug";
/// What the kernel appends to the path of a mapped file that was removed.
const DELETED: &str = " (deleted)";

/// One file that was looked at for a module, and what came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which file.
    pub path: PathBuf,
    /// Whether it was used, or why not.
    pub outcome: Outcome,
}

/// What came of looking at a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was used.
    Taken,
    /// It belongs to the module, but holds nothing that was still missing.
    NothingNew,
    /// It could not be opened.
    Unreadable(String),
    /// It is not an ELF file.
    NotElf(String),
    /// Its build-id is another.
    OtherBuild(Vec<u8>),
    /// It has no build-id, and its headers are not those of the module.
    OtherHeaders,
    /// Its checksum is not the one in `.gnu_debuglink`.
    OtherChecksum,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => write!(f, "used"),
            Self::NothingNew => write!(f, "belongs to the module, but holds nothing that was still missing"),
            Self::Unreadable(error) => write!(f, "cannot be opened: {error}"),
            Self::NotElf(error) => write!(f, "not an ELF file: {error}"),
            Self::OtherBuild(build_id) => write!(f, "its build-id is another: {}", hex(build_id)),
            Self::OtherHeaders => write!(f, "has no build-id, and its headers are not those of the module"),
            Self::OtherChecksum => write!(f, "its checksum is not the one in .gnu_debuglink"),
        }
    }
}

/// The local files of one module.
#[derive(Debug, Default)]
pub struct ModuleFiles {
    files: Vec<MappedFile>,
    binary: Option<usize>,
    symbols: Option<usize>,
    debug_info: Option<usize>,
    debug_link: Option<(PathBuf, u32)>,
    attempts: Vec<Attempt>,
}

impl ModuleFiles {
    /// The file that holds the code.
    pub fn binary(&self) -> Option<&MappedFile> {
        self.files.get(self.binary?)
    }

    /// The file that holds the full symbol table.
    pub fn symbols(&self) -> Option<&MappedFile> {
        self.files.get(self.symbols?)
    }

    /// The file that holds DWARF.
    pub fn debug_info(&self) -> Option<&MappedFile> {
        self.files.get(self.debug_info?)
    }

    /// Whether any file of this machine belongs to the module.
    pub fn any(&self) -> bool {
        !self.files.is_empty()
    }

    /// Every file that was looked at.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    fn is_whole(&self) -> bool {
        self.binary.is_some() && self.symbols.is_some() && self.debug_info.is_some()
    }

    /// Looks at one file and keeps it if it belongs to the module and offers something new.
    fn attempt(&mut self, path: &Path, identity: &[u8]) {
        if self.is_whole() || self.attempts.iter().any(|attempt| attempt.path == path) {
            return;
        }
        let outcome = self.judge(path, identity, None);
        self.attempts.push(Attempt { path: path.to_owned(), outcome });
    }

    fn judge(&mut self, path: &Path, identity: &[u8], checksum: Option<u32>) -> Outcome {
        let file = match MappedFile::open(path) {
            Ok(file) => file,
            Err(error) => return Outcome::Unreadable(error.to_string()),
        };
        let contents = match file.contents() {
            Ok(contents) => contents,
            Err(error) => return Outcome::NotElf(error.to_string()),
        };
        match checksum {
            _ if contents.identity == identity => self.take(file, contents),
            _ if contents.has_build_id => Outcome::OtherBuild(contents.identity),
            Some(checksum) if crc32fast::hash(file.bytes()) == checksum => self.take(file, contents),
            Some(_) => Outcome::OtherChecksum,
            None => Outcome::OtherHeaders,
        }
    }

    fn take(&mut self, file: MappedFile, contents: Contents) -> Outcome {
        let index = self.files.len();
        let mut new = false;
        let mut offer = |place: &mut Option<usize>, offered: bool| {
            if offered && place.is_none() {
                *place = Some(index);
                new = true;
            }
        };
        offer(&mut self.binary, contents.code);
        offer(&mut self.symbols, contents.symbols);
        offer(&mut self.debug_info, contents.debug_info);
        if let (None, Some((name, checksum))) = (&self.debug_link, contents.debug_link) {
            self.debug_link = linked_file(file.path(), &name).map(|path| (path, checksum));
        }
        if !new {
            return Outcome::NothingNew;
        }
        self.files.push(file);
        Outcome::Taken
    }

    /// Follows `.gnu_debuglink` to the places where gdb looks too.
    fn follow_debug_link(&mut self, identity: &[u8]) {
        let Some((linked, checksum)) = self.debug_link.clone() else { return };
        for path in debug_link_paths(&linked) {
            if self.is_whole() || self.attempts.iter().any(|attempt| attempt.path == path) || !path.exists() {
                continue;
            }
            let outcome = self.judge(&path, identity, Some(checksum));
            self.attempts.push(Attempt { path, outcome });
        }
    }
}

/// The local files of all modules of a recording.
#[derive(Debug, Default)]
pub struct LocalFiles {
    modules: Vec<ModuleFiles>,
    by_identity: BTreeMap<Vec<u8>, usize>,
}

impl LocalFiles {
    /// Looks for the files of every module; `folders` are those given with `--symbols`.
    pub fn find(evidence: &Evidence, folders: &[PathBuf]) -> Self {
        let folders: Vec<Folder> = folders.iter().cloned().map(Folder::new).collect();
        let mut found = Self::default();
        for module in &evidence.modules {
            let files = find_module(module, &folders);
            if files.binary().is_some() {
                found.by_identity.entry(module.identity().to_vec()).or_insert(found.modules.len());
            }
            found.modules.push(files);
        }
        found
    }

    /// The files of a module, by its place in the evidence.
    pub fn module(&self, index: usize) -> Option<&ModuleFiles> {
        self.modules.get(index)
    }
}

impl LocalBinaries for LocalFiles {
    fn bytes(&self, module: &ModuleEvidence) -> Option<&[u8]> {
        let index = self.by_identity.get(module.identity())?;
        Some(self.modules.get(*index)?.binary()?.bytes())
    }
}

fn find_module(module: &ModuleEvidence, folders: &[Folder]) -> ModuleFiles {
    let mut files = ModuleFiles::default();
    let identity = module.identity();
    if identity.is_empty() || module.module.kind != ModuleKind::File {
        return files;
    }
    for path in folders.iter().flat_map(|folder| folder.candidates(identity)) {
        files.attempt(&path, identity);
    }
    if let Some(path) = recorded_path(&module.module.path) {
        files.attempt(path, identity);
    }
    let system = Path::new(SYSTEM_DEBUG).join(".build-id");
    for path in build_id_paths(&system, identity).into_iter().filter(|path| path.exists()) {
        files.attempt(&path, identity);
    }
    files.follow_debug_link(identity);
    files
}

/// Where files are not what they seem: to read one can do something.
const KERNELS_OWN: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Larger than any binary with its debug info.
const MAX_SIZE: u64 = 64 << 30;

/// The path as the recorded machine had it, if it can be one of this machine. It is not more than a hint, and may be
/// chosen to lead us to a file of the kernel, or to one without end.
pub(crate) fn recorded_path(path: &str) -> Option<&Path> {
    let path = Path::new(path.strip_suffix(DELETED).unwrap_or(path));
    let is_kernels_own = |path: &Path| KERNELS_OWN.iter().any(|folder| path.starts_with(folder));
    let is_harmless = || {
        // What is not there, or not for us to see, is told by whoever tries to open it.
        let Ok(real) = path.canonicalize() else { return true };
        !is_kernels_own(&real) && real.metadata().is_ok_and(|metadata| metadata.len() < MAX_SIZE)
    };
    (path.is_absolute() && !is_kernels_own(path) && is_harmless()).then_some(path)
}

/// The path beside `binary` that `.gnu_debuglink` means; a name with a folder in it is refused.
fn linked_file(binary: &Path, name: &[u8]) -> Option<PathBuf> {
    let name = Path::new(OsStr::from_bytes(name));
    (Some(name.as_os_str()) == name.file_name()).then(|| binary.with_file_name(name))
}

/// Where the debug file may be that is named beside a binary.
fn debug_link_paths(linked: &Path) -> Vec<PathBuf> {
    let mut paths = vec![linked.to_owned()];
    if let (Some(folder), Some(name)) = (linked.parent(), linked.file_name()) {
        paths.push(folder.join(".debug").join(name));
        let below_root = folder.strip_prefix("/").unwrap_or(folder);
        paths.push(Path::new(SYSTEM_DEBUG).join(below_root).join(name));
    }
    paths
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use profrec_format::Module;

    use super::*;

    fn module(path: &Path, build_id: Vec<u8>) -> ModuleEvidence {
        let path = path.to_str().unwrap().to_owned();
        ModuleEvidence { module: Module { path, build_id, ..Module::default() }, ..ModuleEvidence::default() }
    }

    fn system_binary() -> Option<(PathBuf, Vec<u8>)> {
        let path = ["/bin/sh", "/bin/ls", "/bin/cat"].iter().map(PathBuf::from).find(|path| path.exists())?;
        let build_id = MappedFile::open(&path).ok()?.contents().ok()?.identity;
        (!build_id.is_empty()).then_some((path, build_id))
    }

    /// The recorded path is used when the build-id there is the module's.
    #[test]
    fn takes_the_recorded_path_of_the_same_build() {
        let Some((path, build_id)) = system_binary() else { return };
        let evidence = Evidence { modules: vec![module(&path, build_id)], ..Evidence::default() };
        let found = LocalFiles::find(&evidence, &[]);
        assert!(found.bytes(&evidence.modules[0]).is_some());
        assert_eq!(found.module(0).unwrap().attempts()[0], Attempt { path, outcome: Outcome::Taken });
    }

    /// Another build at the recorded path is refused, and the attempt says so.
    #[test]
    fn refuses_another_build() {
        let Some((path, build_id)) = system_binary() else { return };
        let evidence = Evidence { modules: vec![module(&path, vec![1; 20])], ..Evidence::default() };
        let found = LocalFiles::find(&evidence, &[]);
        assert!(found.bytes(&evidence.modules[0]).is_none());
        assert_eq!(found.module(0).unwrap().attempts(), [Attempt { path, outcome: Outcome::OtherBuild(build_id) }]);
    }

    /// A module without an identity is never looked for: nothing could prove the file.
    #[test]
    fn does_not_look_without_an_identity() {
        let evidence = Evidence { modules: vec![module(Path::new("/bin/sh"), vec![])], ..Evidence::default() };
        let found = LocalFiles::find(&evidence, &[]);
        assert!(found.module(0).unwrap().attempts().is_empty());
    }

    /// A path that leads to the kernel's files, or to a file without end, is not followed, whatever it looks like.
    #[test]
    fn does_not_follow_every_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::os::unix::fs::symlink("/sys/kernel", at("kernel")).unwrap();
        std::fs::File::create(at("huge")).unwrap().set_len(MAX_SIZE).unwrap();
        std::fs::write(at("small"), "x").unwrap();
        let refused =
            ["/proc/self/mem", "/dev/../dev/zero", "/usr/../sys/kernel/notes", "etc/passwd", "../../etc/shadow"];
        for path in refused.map(str::to_owned).into_iter().chain([at("kernel/notes"), at("huge")]) {
            assert_eq!(recorded_path(&path), None, "{path}");
        }
        assert!(recorded_path(&at("small")).is_some());
    }

    /// A debug link that names a folder could lead anywhere: it is refused.
    #[test]
    fn refuses_a_debug_link_with_a_folder() {
        assert_eq!(linked_file(Path::new("/bin/sh"), b"../x"), None);
        assert_eq!(linked_file(Path::new("/bin/sh"), b"sh.debug"), Some(PathBuf::from("/bin/sh.debug")));
    }
}
