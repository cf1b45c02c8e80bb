//! What can be mapped executable: gives every file one number for the whole recording, and has it opened
//! while the process that maps it is still there.

use std::fs::File;
use std::io;

use profrec_format::{Module, ModuleId, ModuleKind};
use rustc_hash::FxHashMap;

use crate::jit;
use crate::opener::{MappedFile, Opened, Opener};
use crate::side_band::FileIdentity;

/// Where a module was seen mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) path: &'a str,
}

impl Place<'_> {
    /// The file that is to be there.
    fn of(&self, identity: FileIdentity) -> MappedFile {
        let Self { pid, start, end, path } = *self;
        MappedFile { pid, start, end, path: path.to_owned(), identity }
    }
}

/// More files than any machine runs; a program can make and map new ones without end. What is mapped beyond is outside every
/// module. Together about 10 MB.
const MOST_MODULES: usize = 32 << 10;

/// All modules seen so far.
#[derive(Default)]
pub(crate) struct Modules {
    ids: FxHashMap<(String, FileIdentity), ModuleId>,
    modules: Vec<Known>,
    /// Files that are open, and not yet handed to whoever reads them.
    held: usize,
    opener: Opener,
}

/// Files that may wait open; of more, each is opened again when it is needed.
const MOST_HELD: usize = 256;

struct Known {
    module: Module,
    identity: FileIdentity,
    /// Open, and not yet handed to whoever reads it.
    file: Option<File>,
    opened: bool,
    /// The segment that has its definition.
    defined_in: u64,
    /// What its file is like, if it has no build-id, and only `/proc` has told of it, which does not tell its generation.
    fingerprint: Option<Vec<u8>>,
}

impl Modules {
    /// Whether there may be more of them.
    fn have_room(&self) -> bool {
        // Files that are told by their build-id and by their inode are in it twice.
        self.ids.len() < 2 * MOST_MODULES && self.modules.len() < MOST_MODULES
    }

    /// As many as there may be, all of which are gone.
    #[cfg(test)]
    pub(crate) fn fill(&mut self) {
        let place = |number: usize| format!("/no/such/file/{number}");
        (0..MOST_MODULES)
            .for_each(|number| _ = self.add(ModuleKind::File, &place(number), FileIdentity::BuildId(vec![1]), None));
    }

    /// Whether what is mapped at this path gets no number for there are too many modules, and not because it holds no code of interest.
    pub(crate) fn refuse(&self, path: &str) -> bool {
        !self.have_room() && classify(path).is_some()
    }

    /// The number of what is mapped at `place`; `None` for memory that holds no code of interest, and when there are too
    /// many modules.
    pub(crate) fn identify(&mut self, place: Place<'_>, identity: FileIdentity) -> Option<ModuleId> {
        let (kind, path) = classify(place.path)?;
        let identity = if kind == ModuleKind::File { identity } else { FileIdentity::BuildId(Vec::new()) };
        if let Some(id) = self.ids.get(&(path.to_owned(), identity.clone())) {
            return Some(*id);
        }
        if !self.have_room() {
            return None;
        }
        let FileIdentity::Inode { generation, .. } = identity else {
            return Some(self.add(kind, path, identity, None));
        };
        // The state at the start, or a kernel that does not tell build-ids: read it, because the same
        // file may be told by its build-id later.
        let opened = self.opener.open(place.of(identity.clone())).ok();
        let (build_id, fingerprint, file) = match opened {
            Some(Opened { file, build_id, fingerprint }) => (build_id, fingerprint, Some(file)),
            None => Default::default(),
        };
        let by_inode = (path.to_owned(), identity);
        let id = if build_id.is_empty() {
            self.found_in_proc(&by_inode, fingerprint.as_deref()).unwrap_or_else(|| {
                let id = self.add(kind, path, by_inode.1.clone(), file);
                if let Some(known) = self.modules.last_mut() {
                    known.fingerprint = fingerprint.filter(|_| generation == 0);
                }
                id
            })
        } else {
            let known = self.ids.get(&(path.to_owned(), FileIdentity::BuildId(build_id.clone()))).copied();
            known.unwrap_or_else(|| self.add(kind, path, FileIdentity::BuildId(build_id), file))
        };
        self.ids.insert(by_inode, id);
        Some(id)
    }

    /// The module that only `/proc` has told of until now, when the file that an event tells of has its inode and is alike.
    fn found_in_proc(
        &mut self,
        (path, identity): &(String, FileIdentity),
        fingerprint: Option<&[u8]>,
    ) -> Option<ModuleId> {
        let FileIdentity::Inode { major, minor, inode, .. } = *identity else { return None };
        let of_any = FileIdentity::Inode { major, minor, inode, generation: 0 };
        let id = *self.ids.get(&(path.clone(), of_any))?;
        let known =
            self.modules.get_mut(id as usize)?.fingerprint.take_if(|known| Some(known.as_slice()) == fingerprint);
        known.map(|_| id)
    }

    fn add(&mut self, kind: ModuleKind, path: &str, identity: FileIdentity, file: Option<File>) -> ModuleId {
        let id = self.modules.len() as ModuleId;
        let build_id = match &identity {
            FileIdentity::BuildId(build_id) => build_id.clone(),
            FileIdentity::Inode { .. } => Vec::new(),
        };
        let module = Module { id, kind, path: path.to_owned(), build_id };
        let file = file.filter(|_| self.held < MOST_HELD);
        self.held += usize::from(file.is_some());
        let key = (path.to_owned(), identity.clone());
        self.modules.push(Known { module, identity, opened: file.is_some(), file, defined_in: 0, fingerprint: None });
        self.ids.insert(key, id);
        id
    }

    /// The module, when `segment` has no definition of it yet; from now on it has.
    pub(crate) fn define(&mut self, id: ModuleId, segment: u64) -> Option<&Module> {
        let known = self.modules.get_mut(id as usize)?;
        if known.defined_in == segment {
            return None;
        }
        known.defined_in = segment;
        Some(&known.module)
    }

    /// Whether `segment` has its definition.
    pub(crate) fn is_defined(&self, id: ModuleId, segment: u64) -> bool {
        self.modules.get(id as usize).is_some_and(|known| known.defined_in == segment)
    }

    /// Whether it is memory that processes fill with code of their own making: without a file, or with one of memory alone.
    pub(crate) fn is_run_time_code(&self, id: ModuleId) -> bool {
        let module = self.modules.get(id as usize).map(|known| &known.module);
        module.is_some_and(|module| module.kind == ModuleKind::Anonymous || module.path.starts_with("/memfd:"))
    }

    /// Whether it is the code that the kernel maps into each process.
    pub(crate) fn is_vdso(&self, id: ModuleId) -> bool {
        self.modules.get(id as usize).is_some_and(|known| known.module.kind == ModuleKind::Vdso)
    }

    /// Whether it tells of code that was made at run time, and is mapped only to be found.
    pub(crate) fn is_jitdump(&self, id: ModuleId) -> bool {
        self.modules.get(id as usize).is_some_and(|known| jit::is_jitdump(&known.module.path))
    }

    /// The module's file, the first time that somebody asks for it. `pid` maps it from `start` to `end`.
    pub(crate) fn open(&mut self, id: ModuleId, (pid, start, end): (u32, u64, u64)) -> Option<File> {
        let known = self.modules.get_mut(id as usize)?;
        let held = known.file.is_some();
        if !known.opened {
            let place = Place { pid, start, end, path: &known.module.path };
            let opened = self.opener.open(place.of(known.identity.clone()));
            // A file system that does not answer is asked again for the next segment. Another file that cannot be opened is a module without
            // evidence: the report says so.
            known.opened = !matches!(&opened, Err(error) if error.kind() == io::ErrorKind::TimedOut);
            known.file = opened.ok().map(|opened| opened.file);
        }
        let file = known.file.take();
        self.held -= usize::from(held);
        file
    }

    /// Nobody has read the module's file: it is opened anew for the next one who asks.
    pub(crate) fn open_again(&mut self, id: ModuleId) {
        if let Some(known) = self.modules.get_mut(id as usize) {
            known.opened = false;
        }
    }
}

/// What kind of memory a path of `/proc/PID/maps` or of a process event stands for.
fn classify(path: &str) -> Option<(ModuleKind, &str)> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    match path {
        "[vdso]" => Some((ModuleKind::Vdso, path)),
        "[vsyscall]" => None,
        "" => Some((ModuleKind::Anonymous, "//anon")),
        _ if path.starts_with("/memfd:") => Some((ModuleKind::File, path)),
        _ if path.starts_with('/') && !is_shared_memory(path) => Some((ModuleKind::File, path)),
        _ => Some((ModuleKind::Anonymous, path)),
    }
}

/// Anonymous memory that the kernel shows with a path.
fn is_shared_memory(path: &str) -> bool {
    ["//", "/dev/zero", "/anon_hugepage", "/SYSV"].iter().any(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// The kernel's many spellings of memory sort into the three kinds.
    #[test]
    fn paths_sort_into_kinds() {
        let kind = |path| classify(path).map(|(kind, _)| kind);
        assert_eq!(kind("/usr/bin/node"), Some(ModuleKind::File));
        assert_eq!(kind("/memfd:jit (deleted)"), Some(ModuleKind::File));
        assert_eq!(kind("[vdso]"), Some(ModuleKind::Vdso));
        assert_eq!(kind("[vsyscall]"), None);
        for path in ["", "//anon", "[heap]", "[stack]", "/dev/zero (deleted)", "[anon:v8]"] {
            assert_eq!(kind(path), Some(ModuleKind::Anonymous), "{path}");
        }
        assert_eq!(classify("/opt/x (deleted)"), Some((ModuleKind::File, "/opt/x")));
    }

    /// A file keeps its number however it is told, and is defined once a segment.
    #[test]
    fn a_module_is_defined_once_a_segment() {
        let mut modules = Modules::default();
        let place = Place { pid: 0, start: 0, end: 1, path: "/no/such/file" };
        let id = modules.identify(place, FileIdentity::BuildId(vec![1, 2]));
        assert_eq!(modules.identify(place, FileIdentity::BuildId(vec![1, 2])), id);
        assert_ne!(modules.identify(place, FileIdentity::BuildId(vec![3])), id);
        let of_inode = |generation| FileIdentity::Inode { major: 8, minor: 1, inode: 7, generation };
        let rebuilt = [1, 2, 1].map(|generation| modules.identify(place, of_inode(generation)));
        assert!(rebuilt[0] != rebuilt[1] && rebuilt[0] == rebuilt[2]);
        assert!(modules.define(0, 1).is_some());
        assert!(modules.define(0, 1).is_none());
        assert!(modules.define(0, 2).is_some());
    }

    /// A file without a build-id that ran already when the recording began, and is started again, is one module; what is like another file
    /// than that, or comes later with the same number, is another one.
    #[test]
    fn a_file_that_proc_has_told_of_is_known_when_it_is_started_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let program = |length| {
            let mut bytes = b"\x7fELF\x02\x01".to_vec();
            bytes.resize(length, 0);
            (bytes[54], bytes[58]) = (56, 64);
            fs::write(file.path(), bytes).unwrap();
        };
        let inode = file.as_file().metadata().unwrap().ino();
        let place = Place { pid: std::process::id(), start: 0, end: 1, path: file.path().to_str().unwrap() };
        let found = |modules: &mut Modules, generation| {
            modules.identify(place, FileIdentity::Inode { major: 8, minor: 1, inode, generation })
        };
        let (mut same, mut other) = (Modules::default(), Modules::default());
        program(100);
        assert_eq!([0, 5, 5, 0, 6].map(|generation| found(&mut same, generation).unwrap()), [0, 0, 0, 0, 1]);
        assert_eq!(found(&mut other, 0), Some(0));
        program(101);
        assert_eq!([5, 0].map(|generation| found(&mut other, generation).unwrap()), [1, 0]);
    }
}
