//! Finds the files that belong to a recording's modules. A file counts only if its
//! identity is the module's: the build-id or, for files without one, the fingerprint of their headers. A
//! path in a recording is a hint, never a proof. In this order:
//!
//! 1. the folders given with `--symbols`
//! 2. the path that the recorded machine had
//! 3. `/usr/lib/debug/.build-id`
//! 4. the debug file that a found binary names (`.gnu_debuglink`), by its checksum
//! 5. what debuginfod's clients have fetched before
//! 6. the file that debug info shares with others (`.gnu_debugaltlink`)
//! 7. once it is known which modules have samples, debuginfod's servers; then the sixth again, before a server is asked for it

mod attempt;
pub mod debuginfod;
mod folder;
mod hints;
mod kernel_file;
mod links;
mod mapped;
mod module_files;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use profrec_format::{Header, ModuleKind};

use crate::evidence::{Evidence, ModuleEvidence};
use crate::modules::LocalBinaries;

pub use attempt::{Attempt, Outcome, Parts, Step};
use debuginfod::{Debuginfod, Kind};
pub use folder::hex;
use folder::{Folder, build_id_paths};
pub(crate) use hints::recorded_path;
pub use kernel_file::KernelFile;
pub use mapped::{Contents, MappedFile};
pub use module_files::ModuleFiles;

/// Modules that servers are asked about at once: most of the time of a small file is that of the way there and back.
const AT_ONCE: usize = 4;

/// Where files are looked for.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The folders given with `--symbols`.
    pub folders: Vec<PathBuf>,
    /// Where distributions put separate debug files.
    pub system_debug: PathBuf,
    /// The servers, and what was fetched from them.
    pub debuginfod: Debuginfod,
}

impl Default for Sources {
    fn default() -> Self {
        Self { folders: Vec::new(), system_debug: "/usr/lib/debug".into(), debuginfod: Debuginfod::default() }
    }
}

/// The local files of all modules of a recording.
#[derive(Debug, Default)]
pub struct LocalFiles {
    folders: Vec<Folder>,
    modules: Vec<ModuleFiles>,
    by_identity: BTreeMap<Vec<u8>, usize>,
    kernel: Option<KernelFile>,
    kernel_attempts: Option<Vec<Attempt>>,
}

impl LocalFiles {
    /// Looks for the files of every module. No server is asked yet.
    pub fn find(evidence: &Evidence, sources: &Sources) -> Self {
        let folders = sources.folders.iter().cloned().map(Folder::new).collect();
        let mut found = Self { folders, ..Self::default() };
        for module in &evidence.modules {
            let files = find_module(module, &found.folders, sources);
            if files.binary().is_some() {
                found.by_identity.entry(module.identity().to_vec()).or_insert(found.modules.len());
            }
            found.modules.push(files);
        }
        found
    }

    /// Asks the servers for what is missing of modules that have samples, of a few at once, those with most samples first: `samples`
    /// has those of each module, by its place in the evidence.
    pub fn fetch(&mut self, evidence: &Evidence, samples: &[u64], sources: &Sources) {
        let modules = self.modules.iter_mut().zip(&evidence.modules).zip(samples);
        let mut wanted: Vec<_> = modules.filter(|(_, samples)| **samples > 0).collect();
        wanted.sort_by_key(|(_, samples)| std::cmp::Reverse(**samples));
        let fetching = sources.debuginfod.start();
        let threads = AT_ONCE.min(wanted.len());
        let waiting = Mutex::new(wanted.into_iter());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(((files, module), _)) = next() {
                        fetching.complete(files, module);
                        // What came may share a part with a file that is here.
                        find_shared(files, &self.folders, sources);
                        fetching.complete_shared(files, module);
                    }
                });
            }
        });
    }

    /// Looks for the kernel's own file.
    pub fn find_kernel(&mut self, evidence: &Evidence, header: &Header, sources: &Sources) {
        let (found, attempts) = kernel_file::find(&evidence.kernel, header, sources);
        (self.kernel, self.kernel_attempts) = (found, Some(attempts));
    }

    /// The kernel's own file.
    pub fn kernel(&self) -> Option<&KernelFile> {
        self.kernel.as_ref()
    }

    /// What was looked at for the kernel, if anything was to be.
    pub fn kernel_attempts(&self) -> Option<&[Attempt]> {
        self.kernel_attempts.as_deref()
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

fn find_module(module: &ModuleEvidence, folders: &[Folder], sources: &Sources) -> ModuleFiles {
    let mut files = ModuleFiles::default();
    let identity = module.identity();
    if identity.is_empty() || module.module.kind != ModuleKind::File {
        return files;
    }
    for folder in folders {
        look_into(folder, identity, &mut files);
    }
    match recorded_path(&module.module.path) {
        Ok(path) => {
            files.attempt(Step::RecordedPath, &path, identity);
        }
        Err(outcome) => files.note(Step::RecordedPath, &*module.module.path, outcome),
    }
    for path in build_id_paths(&sources.system_debug.join(".build-id"), &module.module.build_id) {
        files.attempt(Step::SystemDebug, &path, identity);
    }
    if let Some(link) = files.debug_link().cloned() {
        for path in link.paths(sources) {
            files.attempt_checksum(Step::DebugLink, &path, identity, link.checksum);
        }
    }
    for kind in [Kind::DebugInfo, Kind::Executable] {
        if let Some(path) = sources.debuginfod.cached(&module.module.build_id, kind) {
            files.attempt(Step::DebuginfodCache, &path, identity);
        }
    }
    find_shared(&mut files, folders, sources);
    files
}

/// Looks for a module in a folder given with `--symbols`.
fn look_into(folder: &Folder, identity: &[u8], files: &mut ModuleFiles) {
    if files.is_whole() {
        return;
    }
    let candidates = folder.candidates(identity);
    if candidates.is_empty() {
        files.note(Step::SymbolsFolder, folder.path().display().to_string(), Outcome::NoneOfThisBuild);
    }
    if folder.is_cut() {
        let outcome = Outcome::LeftOut(format!("of its files, only {} were looked at", folder::MAX_ENTRIES));
        files.note(Step::SymbolsFolder, folder.path().display().to_string(), outcome);
    }
    for path in candidates {
        files.attempt(Step::SymbolsFolder, &path, identity);
    }
}

/// Looks for the file that the debug info shares with others.
fn find_shared(files: &mut ModuleFiles, folders: &[Folder], sources: &Sources) {
    let Some(link) = files.missing_alt_link().cloned() else { return };
    for path in links::alt_link_paths(&link.debug_file, &link.name) {
        match hints::require_harmless(&path) {
            Ok(()) => {
                files.attempt_shared(Step::DebugAltLink, &path, &link.build_id);
            }
            Err(outcome) => files.note(Step::DebugAltLink, path.display().to_string(), outcome),
        }
    }
    let mut paths = build_id_paths(&sources.system_debug.join(".build-id"), &link.build_id);
    paths.extend(folders.iter().flat_map(|folder| folder.candidates(&link.build_id)));
    paths.extend(sources.debuginfod.cached(&link.build_id, Kind::DebugInfo));
    for path in paths {
        files.attempt_shared(Step::DebugAltLink, &path, &link.build_id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

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

    fn first_attempt(found: &LocalFiles) -> &Attempt {
        &found.module(0).unwrap().attempts()[0]
    }

    /// The recorded path is used when the build-id there is the module's.
    #[test]
    fn takes_the_recorded_path_of_the_same_build() {
        let Some((path, build_id)) = system_binary() else { return };
        let evidence = Evidence { modules: vec![module(&path, build_id)], ..Evidence::default() };
        let found = LocalFiles::find(&evidence, &Sources::default());
        assert!(found.bytes(&evidence.modules[0]).is_some());
        let first = first_attempt(&found);
        assert_eq!((first.step, first.place.as_str()), (Step::RecordedPath, path.to_str().unwrap()));
        assert!(matches!(first.outcome, Outcome::Taken(parts) if parts.code), "{first:?}");
    }

    /// Another build at the recorded path is refused, and the attempt says so.
    #[test]
    fn refuses_another_build() {
        let Some((path, build_id)) = system_binary() else { return };
        let evidence = Evidence { modules: vec![module(&path, vec![1; 20])], ..Evidence::default() };
        let found = LocalFiles::find(&evidence, &Sources::default());
        assert!(found.bytes(&evidence.modules[0]).is_none());
        assert_eq!(first_attempt(&found).outcome, Outcome::OtherBuild(build_id));
    }

    /// A module without an identity is never looked for: nothing could prove the file.
    #[test]
    fn does_not_look_without_an_identity() {
        let evidence = Evidence { modules: vec![module(Path::new("/bin/sh"), vec![])], ..Evidence::default() };
        let found = LocalFiles::find(&evidence, &Sources::default());
        assert!(found.module(0).unwrap().attempts().is_empty());
    }
}
