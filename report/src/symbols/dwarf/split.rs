//! Split DWARF: a program holds line tables and skeletons of its units, and the rest of each is in a file of its own
//! (`.dwo`) or in one for the whole program (`.dwp`). Both kinds are found by the number that the skeleton tells.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gimli::{
    DebugAddrBase, DebugRngListsBase, Dwarf, DwarfPackage, DwarfPackageSections, DwarfSections, DwoId, EndianSlice,
    LittleEndian, Unit, UnitRef,
};

use super::Bytes;
use super::allowance::{Allowance, Trouble};
use super::section_data;
use crate::local_files::{MappedFile, recorded_path};

/// Units that are looked at in a `.dwo` file; compilers put one into each, beside units of types.
const MAX_UNITS: usize = 4096;

/// Where the parts of a program's units may be.
pub(super) struct Parts<'p, 'a> {
    /// The files that the program and its debug info are.
    pub(super) beside: &'p [&'p Path],
    pub(super) package: Option<&'p DwarfPackage<Bytes<'a>>>,
}

/// Opens the `.dwp` file beside a program, if there is one.
pub(super) fn open_package(beside: &[&Path]) -> Option<MappedFile> {
    beside.iter().find_map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dwp");
        MappedFile::open(Path::new(&name)).ok()
    })
}

/// The sections of a `.dwp` file.
pub(super) fn package_sections<'a>(
    file: &object::File<'a>,
) -> Result<DwarfPackageSections<Cow<'a, [u8]>>, gimli::Error> {
    DwarfPackageSections::load(|id| id.dwo_name().map_or(Ok(Cow::Borrowed(&[][..])), |name| section_data(file, name)))
}

impl<'a> Parts<'_, 'a> {
    /// Has `work` done with the part that belongs to a skeleton, and with what it may cost. Says whether there is one.
    pub(super) fn with(
        &self,
        skeleton: UnitRef<'_, Bytes<'a>>,
        id: DwoId,
        own: &Allowance,
        work: impl FnOnce(UnitRef<'_, Bytes<'_>>, &Allowance) -> Result<(), Trouble>,
    ) -> Result<bool, Trouble> {
        let relocated = Relocated::of(skeleton.unit);
        if let Some(package) = self.package
            && let Some(dwarf) = package.find_cu(id, skeleton.dwarf)?
            && let Some(unit) = unit_of(&dwarf, id, &relocated)
        {
            return work(unit.unit_ref(&dwarf), own).map(|()| true);
        }
        for path in self.candidates(skeleton) {
            let Ok(file) = MappedFile::open(&path) else { continue };
            let Ok(parsed) = object::File::parse(file.bytes()) else { continue };
            let sections = load_part(&parsed)?;
            let mut dwarf = sections.borrow(|data| EndianSlice::new(data, LittleEndian));
            dwarf.make_dwo(skeleton.dwarf);
            if let Some(unit) = unit_of(&dwarf, id, &relocated) {
                return work(unit.unit_ref(&dwarf), &Allowance::of(&dwarf)).map(|()| true);
            }
        }
        Ok(false)
    }

    /// Where the `.dwo` file may be: where the compiler wrote it, or beside the program. The paths come from a file
    /// that may be anybody's: they are held to the same rules as those of a recording.
    fn candidates(&self, skeleton: UnitRef<'_, Bytes<'a>>) -> Vec<PathBuf> {
        let name = skeleton.dwo_name().ok().flatten().and_then(|name| skeleton.attr_string(name).ok());
        let Some(name) = name else { return Vec::new() };
        let name = Path::new(OsStr::from_bytes(name.slice()));
        let compiled_in = skeleton.comp_dir.map(|folder| Path::new(OsStr::from_bytes(folder.slice())));
        let mut candidates = vec![compiled_in.map_or(name.to_owned(), |folder| folder.join(name))];
        for folder in self.beside.iter().filter_map(|path| path.parent()) {
            candidates.push(folder.join(name));
            candidates.extend(name.file_name().map(|name| folder.join(name)));
        }
        candidates.retain(|path| path.to_str().is_some_and(|path| recorded_path(path).is_ok()));
        candidates
    }
}

fn load_part<'a>(file: &object::File<'a>) -> Result<DwarfSections<Cow<'a, [u8]>>, gimli::Error> {
    DwarfSections::load(|id| id.dwo_name().map_or(Ok(Cow::Borrowed(&[][..])), |name| section_data(file, name)))
}

/// What only a skeleton tells, because linkers change it.
struct Relocated {
    low_pc: u64,
    addresses: DebugAddrBase,
    ranges: DebugRngListsBase,
}

impl Relocated {
    fn of(skeleton: &Unit<Bytes<'_>>) -> Self {
        Self { low_pc: skeleton.low_pc, addresses: skeleton.addr_base, ranges: skeleton.rnglists_base }
    }

    fn complete(&self, unit: &mut Unit<Bytes<'_>>) {
        unit.low_pc = self.low_pc;
        unit.addr_base = self.addresses;
        // In DWARF 5, lists of ranges are in the part.
        if unit.header.version() < 5 {
            unit.rnglists_base = self.ranges;
        }
    }
}

/// The unit of this number.
fn unit_of<'b>(dwarf: &Dwarf<Bytes<'b>>, id: DwoId, relocated: &Relocated) -> Option<Unit<Bytes<'b>>> {
    let mut units = dwarf.units();
    for _ in 0..MAX_UNITS {
        let header = units.next().ok()??;
        let Ok(mut unit) = dwarf.unit(header) else { continue };
        if unit.dwo_id == Some(id) {
            relocated.complete(&mut unit);
            return Some(unit);
        }
    }
    None
}
