//! Stacks, sample by sample: ours, unwound from pointers alone, against what other unwinders make of the same registers and of
//! all bytes of the stack.
//!
//! ```text
//! profrec record --keep-raw ─► sample: registers and pointers ─► profrec_report::unwind ─┐
//!                           └► RawStack: registers and bytes  ─► peers ──────────────────┴► classes ─► tally
//! ```

pub mod classes;
pub mod framehop;
pub mod libdw;
pub mod peer;
pub mod report;
pub mod space;
pub mod tally;

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use profrec_format::{Arch, RawStack, Record, Recording, Sample, Segment, UserState};
use profrec_report::address_space::AddressSpace;
use profrec_report::collect::walk_user;
use profrec_report::evidence::{Evidence, ModuleNumbers};
use profrec_report::local_files::{LocalFiles, Sources};
use profrec_report::modules::Modules;
use profrec_report::replay::replay;
use profrec_report::unwind::Unwinder;
use profrec_report::world::Instant;

use classes::{reason, relate};
use peer::{Peer, SpaceId};
use space::ModuleFiles;
use tally::Tally;

/// Walks all stacks of a recording that was made with `--keep-raw`, and compares.
pub fn compare(path: &Path, peers: &mut [Box<dyn Peer>]) -> Result<Tally> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let recording = Recording::open(&bytes).with_context(|| format!("reading {}", path.display()))?;
    ensure!(recording.header().arch == Arch::X86_64, "only stacks of x86-64 can be compared");
    let (evidence, numbers) = Evidence::gather(&recording);
    let local = LocalFiles::find(&evidence, &Sources::default());
    let modules = Modules::new(&evidence, &local);
    let files = ModuleFiles::of(&evidence, &local)?;
    let mut comparison =
        Comparison { modules: &modules, files: &files, peers, spaces: HashMap::new(), tally: Tally::default() };
    for segment in recording.segments() {
        comparison.add(segment, &numbers)?;
    }
    ensure!(comparison.tally.samples > 0, "{} has no raw stacks: record with --keep-raw", path.display());
    Ok(comparison.tally)
}

struct Comparison<'a> {
    modules: &'a Modules<'a>,
    files: &'a ModuleFiles,
    peers: &'a mut [Box<dyn Peer>],
    /// The address spaces that the peers know, by process; the last of each.
    spaces: HashMap<u32, (AddressSpace, SpaceId)>,
    tally: Tally,
}

impl Comparison<'_> {
    fn add(&mut self, segment: &Segment<'_>, numbers: &ModuleNumbers) -> Result<()> {
        let mut raw = HashMap::new();
        for record in segment.records()? {
            if let Record::RawStack(stack) = record {
                raw.insert((stack.time, stack.tid), stack);
            }
        }
        let mut unwinder = Unwinder::new(self.modules, Arch::X86_64);
        let mut outcome = Ok(());
        replay(segment, numbers, |sample, instant| {
            if let Some(stack) = raw.get(&(sample.time, sample.tid))
                && outcome.is_ok()
            {
                outcome = self.compare(&mut unwinder, (sample, instant), stack);
            }
        })?;
        outcome
    }

    fn compare(
        &mut self,
        unwinder: &mut Unwinder<'_>,
        (sample, instant): (&Sample, Instant<'_>),
        stack: &RawStack,
    ) -> Result<()> {
        if instant.between_programs || !matches!(sample.user, UserState::Stack(_)) {
            return Ok(());
        }
        let space = self.space(sample.pid, instant.space)?;
        let mut ours = Vec::new();
        let verdict = walk_user(unwinder, sample, instant, &mut ours);
        self.tally.count(ours.len(), verdict);
        let mut found = Vec::new();
        for peer in &mut *self.peers {
            let theirs = peer.walk(space, stack)?;
            let (relation, common) = relate(&ours, &theirs.frames);
            found.push((peer.name(), relation, reason(self.modules, &ours, verdict, common, &theirs), theirs));
        }
        self.tally.add(instant.comm, &ours, found);
        Ok(())
    }

    /// The number of an address space, of which the peers are told when it is new.
    fn space(&mut self, pid: u32, space: &AddressSpace) -> Result<SpaceId> {
        if let Some((known, id)) = self.spaces.get(&pid)
            && known == space
        {
            return Ok(*id);
        }
        let files = self.files.mapped(space, self.modules);
        let id = self.tally.spaces;
        for peer in &mut *self.peers {
            peer.add_space(&files)?;
        }
        self.tally.spaces += 1;
        self.spaces.insert(pid, (space.clone(), id));
        Ok(id)
    }
}
