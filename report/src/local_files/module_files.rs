//! The local files of one module: which file offers what, and everything that was looked at.

use std::io;
use std::path::{Path, PathBuf};

use super::attempt::{Attempt, Outcome, Parts, Step};
use super::links::DebugLink;
use super::mapped::{Contents, MappedFile};

/// The local files of one module.
#[derive(Debug, Default)]
pub struct ModuleFiles {
    files: Vec<MappedFile>,
    binary: Option<usize>,
    symbols: Option<usize>,
    debug_info: Option<usize>,
    shared: Option<MappedFile>,
    debug_link: Option<DebugLink>,
    alt_link: Option<AltLink>,
    attempts: Vec<Attempt>,
}

/// The file that the debug info refers to, which it shares with others.
#[derive(Clone, Debug)]
pub(super) struct AltLink {
    /// The debug file that says so.
    pub(super) debug_file: PathBuf,
    /// The shared file's name: a path, often relative to the debug file.
    pub(super) name: Vec<u8>,
    /// The shared file's build-id.
    pub(super) build_id: Vec<u8>,
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

    /// The file that holds what the DWARF refers to and shares with other files (dwz).
    pub fn shared_debug_info(&self) -> Option<&MappedFile> {
        self.shared.as_ref()
    }

    /// Whether the DWARF refers to a file that was not found.
    pub fn lacks_shared_debug_info(&self) -> bool {
        self.alt_link.is_some() && self.shared.is_none()
    }

    /// Whether any file of this machine belongs to the module.
    pub fn any(&self) -> bool {
        !self.files.is_empty()
    }

    /// Everything that was looked at, in order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    pub(super) fn is_whole(&self) -> bool {
        self.binary.is_some() && self.symbols.is_some() && self.debug_info.is_some()
    }

    pub(super) fn debug_link(&self) -> Option<&DebugLink> {
        self.debug_link.as_ref()
    }

    /// The shared file that is still missing.
    pub(super) fn missing_alt_link(&self) -> Option<&AltLink> {
        self.alt_link.as_ref().filter(|_| self.shared.is_none())
    }

    /// Notes what came of a place; once, also if it is looked at again.
    pub(super) fn note(&mut self, step: Step, place: impl Into<String>, outcome: Outcome) {
        let attempt = Attempt { step, place: place.into(), outcome };
        if !self.attempts.contains(&attempt) {
            self.attempts.push(attempt);
        }
    }

    /// Looks at one file and keeps it if it belongs to the module and offers something new; says whether it was kept.
    pub(super) fn attempt(&mut self, step: Step, path: &Path, identity: &[u8]) -> bool {
        self.attempt_with(step, path, |files, path| files.judge(path, identity, None))
    }

    /// The same for a file that proves itself by its checksum if it has no build-id.
    pub(super) fn attempt_checksum(&mut self, step: Step, path: &Path, identity: &[u8], checksum: u32) {
        self.attempt_with(step, path, |files, path| files.judge(path, identity, Some(checksum)));
    }

    /// Looks at one file that may be the shared one; says whether it was kept.
    pub(super) fn attempt_shared(&mut self, step: Step, path: &Path, build_id: &[u8]) -> bool {
        if self.shared.is_some() {
            return false;
        }
        let outcome = self.judge_shared(path, build_id);
        self.note_of_file(step, path.display().to_string(), outcome)
    }

    fn attempt_with(&mut self, step: Step, path: &Path, judge: impl FnOnce(&mut Self, &Path) -> Outcome) -> bool {
        let place = path.display().to_string();
        // What is in debuginfod's cache may have been replaced since.
        let is_the_same = |attempt: &Attempt| attempt.place == place && attempt.step != Step::DebuginfodCache;
        if self.is_whole() || self.attempts.iter().any(is_the_same) {
            return false;
        }
        let outcome = judge(self, path);
        self.note_of_file(step, place, outcome)
    }

    fn note_of_file(&mut self, step: Step, place: String, outcome: Outcome) -> bool {
        let is_kept = matches!(outcome, Outcome::Taken(_));
        self.note(step, place, outcome);
        is_kept
    }

    fn judge(&mut self, path: &Path, identity: &[u8], checksum: Option<u32>) -> Outcome {
        let (file, contents) = match open(path) {
            Ok(opened) => opened,
            Err(outcome) => return outcome,
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
        let offer = |place: &mut Option<usize>, offered: bool| {
            let new = offered && place.is_none();
            if new {
                *place = Some(index);
            }
            new
        };
        let parts = Parts {
            code: offer(&mut self.binary, contents.code),
            symbols: offer(&mut self.symbols, contents.symbols),
            debug_info: offer(&mut self.debug_info, contents.debug_info),
            shared_debug_info: false,
        };
        if let (None, Some((name, checksum))) = (&self.debug_link, contents.debug_link) {
            self.debug_link = DebugLink::new(file.path(), &name, checksum);
        }
        if let (true, Some((name, build_id))) = (parts.debug_info, contents.alt_link) {
            self.alt_link = Some(AltLink { debug_file: file.path().to_owned(), name, build_id });
        }
        if parts.is_empty() {
            return Outcome::NothingNew;
        }
        self.files.push(file);
        Outcome::Taken(parts)
    }

    fn judge_shared(&mut self, path: &Path, build_id: &[u8]) -> Outcome {
        match open(path) {
            Ok((_, contents)) if contents.identity != build_id => Outcome::OtherBuild(contents.identity),
            Ok((_, contents)) if !contents.debug_info => Outcome::NothingNew,
            Ok((file, _)) => {
                self.shared = Some(file);
                Outcome::Taken(Parts { shared_debug_info: true, ..Parts::default() })
            }
            Err(outcome) => outcome,
        }
    }
}

/// Opens an ELF file and looks at its headers, or says why that is not possible.
pub(super) fn open(path: &Path) -> Result<(MappedFile, Contents), Outcome> {
    let file = MappedFile::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Outcome::NoSuchFile,
        _ => Outcome::Unreadable(error.to_string()),
    })?;
    let contents = file.contents().map_err(|error| Outcome::NotElf(error.to_string()))?;
    Ok((file, contents))
}
