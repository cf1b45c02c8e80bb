//! The numbers of modules in a recording that is merged of several. Each numbers its own; what is the same module under the
//! same number in several keeps its number, as the parts of one recording have it. All others get another. (That two
//! numbers are the same module is found out by whoever reads the recording.)

use foldhash::{HashMap, HashSet};
use profrec_format::{Layout, Module, ModuleId, ModuleKind, Record};

/// What a recording says of which module a number is. What it does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Identity {
    kind: ModuleKind,
    path: String,
    build_id: Vec<u8>,
    fingerprint: Vec<u8>,
}

/// The modules of one part.
#[derive(Default)]
pub(super) struct PartModules {
    identities: HashMap<ModuleId, Identity>,
}

/// The modules of the merged recording.
#[derive(Default)]
pub(super) struct MergedModules {
    /// Which modules had this number in a part, and which they have now.
    known: HashMap<ModuleId, Vec<(Identity, ModuleId)>>,
    taken: HashSet<ModuleId>,
    /// No number below is free, except those that nobody else will ask for.
    next: ModuleId,
}

impl PartModules {
    /// Notes what a record says of modules.
    pub(super) fn add(&mut self, record: Record) {
        match record {
            Record::Module(Module { id, kind, path, build_id }) => {
                let known = self.identities.entry(id).or_default();
                (known.kind, known.path) = (kind, path);
                if !build_id.is_empty() {
                    known.build_id = build_id;
                }
            }
            Record::Layout(Layout { module, build_id, fingerprint, .. }) => {
                let known = self.identities.entry(module).or_default();
                if known.build_id.is_empty() {
                    known.build_id = build_id;
                }
                known.fingerprint = fingerprint;
            }
            mut other => {
                if let Some(id) = other.module_mut() {
                    self.identities.entry(*id).or_default();
                }
            }
        }
    }
}

impl Identity {
    /// Whether nothing says that these are two modules.
    fn may_be(&self, other: &Self) -> bool {
        let same = |one: &[u8], other: &[u8]| one.is_empty() || other.is_empty() || one == other;
        (self.kind, &self.path) == (other.kind, &other.path)
            && same(&self.build_id, &other.build_id)
            && same(&self.fingerprint, &other.fingerprint)
    }

    fn learn(&mut self, other: Self) {
        if self.build_id.is_empty() {
            self.build_id = other.build_id;
        }
        if self.fingerprint.is_empty() {
            self.fingerprint = other.fingerprint;
        }
    }
}

impl MergedModules {
    /// The numbers of a part's modules from here on. `None` when there are more modules than numbers.
    pub(super) fn number(&mut self, part: PartModules) -> Option<HashMap<ModuleId, ModuleId>> {
        let mut identities: Vec<_> = part.identities.into_iter().collect();
        identities.sort_unstable_by_key(|(id, _)| *id);
        identities.into_iter().map(|(id, identity)| Some((id, self.number_one(id, identity)?))).collect()
    }

    fn number_one(&mut self, id: ModuleId, identity: Identity) -> Option<ModuleId> {
        let same = self.known.entry(id).or_default();
        if let Some((known, number)) = same.iter_mut().find(|(known, _)| known.may_be(&identity)) {
            known.learn(identity);
            return Some(*number);
        }
        let mut number = id;
        while !self.taken.insert(number) {
            number = self.next;
            self.next = self.next.checked_add(1)?;
        }
        same.push((identity, number));
        Some(number)
    }
}

/// Gives a record's module its new number.
pub(super) fn renumber(record: &mut Record, numbers: &HashMap<ModuleId, ModuleId>) {
    if let Some(module) = record.module_mut() {
        *module = numbers.get(module).copied().unwrap_or(*module);
    }
}
