//! Split DWARF: a program holds line tables and skeletons of its units, and the rest of each is in a file of its own
//! (`.dwo`) or in one for the whole program (`.dwp`). Both kinds are found by the number that the skeleton tells.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use foldhash::HashSet;
use gimli::{
    DebugAddrBase, DebugRngListsBase, Dwarf, DwarfPackage, DwarfPackageSections, DwarfSections, DwoId, EndianSlice,
    LittleEndian, Unit, UnitRef,
};
use object::Object;

use super::Bytes;
use super::allowance::{Meter, Trouble};
use super::payments::pay_for_text;
use super::section_data;
use super::units::Tables;
use crate::local_files::{MappedFile, recorded_path};

/// Units that are looked at in a `.dwo` file; compilers put one into each, beside units of types.
const MAX_UNITS: usize = 4096;
/// What looking for a file costs.
const OPENING: u64 = 1024;
/// What looking for its sections costs, for each section that it has.
const SECTION: u64 = 16;

/// Where the parts of a program's units may be.
pub(super) struct Parts<'p, 'a> {
    /// The files that the program and its debug info are.
    pub(super) beside: &'p [&'p Path],
    pub(super) package: Option<&'p DwarfPackage<Bytes<'a>>>,
    pub(super) opened: Opened,
}

/// The `.dwo` files that were opened, by their place on the disk: each is worth work once, whatever refers to it, and by
/// whatever path.
#[derive(Default)]
pub(super) struct Opened(Mutex<HashSet<String>>);

impl Opened {
    fn is_first(&self, file: &MappedFile) -> bool {
        let mut stamps = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        stamps.insert(file.stamp().to_owned())
    }
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
    /// Has `work` done with the part that belongs to a skeleton. Says whether there is one.
    pub(super) fn with(
        &self,
        skeleton: UnitRef<'_, Bytes<'a>>,
        id: DwoId,
        meter: &mut Meter<'_>,
        work: impl FnOnce(UnitRef<'_, Bytes<'_>>, &mut Meter<'_>) -> Result<(), Trouble>,
    ) -> Result<bool, Trouble> {
        let relocated = Relocated::of(skeleton.unit);
        if let Some(package) = self.package
            && let Some(dwarf) = package.find_cu(id, skeleton.dwarf)?
            && let Some(unit) = unit_of(&dwarf, id, &relocated, meter)?
        {
            return work(unit.unit_ref(&dwarf), meter).map(|()| true);
        }
        for path in self.candidates(skeleton, meter)? {
            meter.work(OPENING)?;
            let Ok(file) = MappedFile::open(&path) else { continue };
            let Ok(parsed) = object::File::parse(file.bytes()) else { continue };
            let sections = load_part(&parsed, self.opened.is_first(&file), meter)?;
            let mut dwarf = sections.borrow(|data| EndianSlice::new(data, LittleEndian));
            dwarf.make_dwo(skeleton.dwarf);
            if let Some(unit) = unit_of(&dwarf, id, &relocated, meter)? {
                return work(unit.unit_ref(&dwarf), meter).map(|()| true);
            }
        }
        Ok(false)
    }

    /// Where the `.dwo` file may be: where the compiler wrote it, or beside the program. The paths come from a file
    /// that may be anybody's: they are held to the same rules as those of a recording.
    fn candidates(&self, skeleton: UnitRef<'_, Bytes<'a>>, meter: &mut Meter<'_>) -> Result<Vec<PathBuf>, Trouble> {
        let Ok(Some(name)) = skeleton.dwo_name() else { return Ok(Vec::new()) };
        pay_for_text(skeleton, name, meter)?;
        let Ok(name) = skeleton.attr_string(name) else { return Ok(Vec::new()) };
        let folder = skeleton.comp_dir.map_or(0, |folder| folder.len()) as u64;
        // The name is part of two paths for each place.
        meter.work(folder.saturating_add((1 + 2 * self.beside.len() as u64).saturating_mul(name.len() as u64)))?;
        let name = Path::new(OsStr::from_bytes(name.slice()));
        let compiled_in = skeleton.comp_dir.map(|folder| Path::new(OsStr::from_bytes(folder.slice())));
        let mut candidates = vec![compiled_in.map_or(name.to_owned(), |folder| folder.join(name))];
        for folder in self.beside.iter().filter_map(|path| path.parent()) {
            candidates.push(folder.join(name));
            candidates.extend(name.file_name().map(|name| folder.join(name)));
        }
        candidates.retain(|path| path.to_str().is_some_and(|path| recorded_path(path).is_ok()));
        Ok(candidates)
    }
}

/// The sections of a `.dwo` file. Those of a file that was not opened before are worth work; what has to be decompressed
/// is work each time.
fn load_part<'a>(
    file: &object::File<'a>,
    is_first: bool,
    meter: &mut Meter<'_>,
) -> Result<DwarfSections<Cow<'a, [u8]>>, Trouble> {
    meter.work(file.sections().count() as u64 * SECTION)?;
    DwarfSections::load(|id| {
        let Some(name) = id.dwo_name() else { return Ok(Cow::Borrowed(&[][..])) };
        let bytes = section_data(file, name)?;
        if is_first {
            meter.grow(bytes.len() as u64);
        }
        if let Cow::Owned(decompressed) = &bytes {
            meter.work(decompressed.len() as u64)?;
        }
        Ok(bytes)
    })
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
fn unit_of<'b>(
    dwarf: &Dwarf<Bytes<'b>>,
    id: DwoId,
    relocated: &Relocated,
    meter: &mut Meter<'_>,
) -> Result<Option<Unit<Bytes<'b>>>, Trouble> {
    let mut units = dwarf.units();
    let mut tables = Tables::default();
    for _ in 0..MAX_UNITS {
        let Ok(Some(header)) = units.next() else { break };
        meter.work(1)?;
        match tables.unit(dwarf, &header, meter) {
            Ok(mut unit) if unit.dwo_id == Some(id) => {
                relocated.complete(&mut unit);
                return Ok(Some(unit));
            }
            Ok(_) | Err(Trouble::Damaged(_)) => {}
            Err(Trouble::TooMuch) => return Err(Trouble::TooMuch),
        }
    }
    Ok(None)
}
