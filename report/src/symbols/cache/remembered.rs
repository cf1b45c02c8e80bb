//! What is known of one module while it is named: from earlier reports, and what this one has found.

use std::sync::Arc;

use foldhash::HashMap;

use super::{Cache, Key, Known, KnownFrames};
use crate::evidence::ModuleEvidence;
use crate::local_files::{MappedFile, ModuleFiles};
use crate::symbols::Wanted;
use crate::symbols::dwarf::DwarfFrame;

/// The names of one module.
#[derive(Default)]
pub(in crate::symbols) struct Remembered<'c> {
    /// Where they are kept; only those of modules with debug info are.
    place: Option<(&'c Cache, Key)>,
    known: Known,
    /// Addresses whose frames depend on more than the module's own files: they are not kept.
    passing: Vec<u64>,
    /// There is more than what was read.
    has_new: bool,
}

impl<'c> Remembered<'c> {
    /// Reads what is known of a module.
    pub(in crate::symbols) fn open(evidence: &ModuleEvidence, files: &ModuleFiles, how: &'c Wanted) -> Self {
        let used = [files.debug_info(), files.shared_debug_info(), files.symbols(), files.binary()];
        let used: Vec<_> = used.into_iter().flatten().collect();
        if files.debug_info().is_some() { Self::of(evidence.identity(), &used, how) } else { Self::default() }
    }

    /// Reads what is known of what is named from these files.
    pub(in crate::symbols) fn of(identity: &[u8], files: &[&MappedFile], how: &'c Wanted) -> Self {
        let key = || Key::new(identity, files.iter().copied(), how.lines);
        let place = how.cache.as_ref().map(|cache| (cache, key()));
        let known = place.as_ref().map(|(cache, key)| cache.read(key)).unwrap_or_default();
        Self { place, known, ..Self::default() }
    }

    /// Frames by address.
    pub(in crate::symbols) fn frames(&self) -> &KnownFrames {
        &self.known.frames
    }

    /// Readable names, by the names in the file.
    pub(in crate::symbols) fn readable(&self) -> &HashMap<Arc<str>, Arc<str>> {
        &self.known.readable
    }

    /// Adds frames of addresses; those that are `passing` are forgotten when this report ends.
    pub(in crate::symbols) fn learn(&mut self, addresses: &[u64], frames: Vec<Vec<DwarfFrame>>, passing: &[bool]) {
        let passing = addresses.iter().zip(passing).filter(|(_, passing)| **passing);
        self.passing.extend(passing.map(|(address, _)| address));
        self.has_new |= self.passing.len() < addresses.len();
        addresses.iter().zip(frames).for_each(|(address, frames)| self.known.frames.insert(*address, frames));
    }

    /// Adds readable names.
    pub(in crate::symbols) fn learn_names(&mut self, names: Vec<(Arc<str>, Arc<str>)>) {
        self.has_new |= !names.is_empty();
        self.known.readable.extend(names);
    }

    /// Keeps what is new for the next report.
    pub(in crate::symbols) fn keep(mut self) {
        self.passing.iter().for_each(|address| self.known.frames.remove(*address));
        if let (Some((cache, key)), true) = (&self.place, self.has_new) {
            cache.write(key, &self.known);
        }
    }
}
