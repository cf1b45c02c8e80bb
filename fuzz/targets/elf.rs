//! Any file as an ELF file, for everything in the report that reads one: its identity, call frame information,
//! symbols and DWARF.
#![no_main]

use libfuzzer_sys::fuzz_target;
use profrec_format::{Module, ModuleKind};
use profrec_report::evidence::{Evidence, ModuleEvidence};
use profrec_report::local_files::{Contents, LocalFiles};
use profrec_report::progress;
use profrec_report::stacks::Location;
use profrec_report::symbols::dwarf::{self, DebugFiles};
use profrec_report::symbols::{Names, Wanted};
use profrec_report::unwind::binary::BinaryCfi;
use profrec_report::unwind::cfi::CfiContext;

const ADDRESSES: [u64; 6] = [0, 0x1000, 0x1139, 0x40_1000, 1 << 47, u64::MAX];

fuzz_target!(|file: &[u8]| {
    let _no_elf = Contents::of(file).is_ok();
    if let Some(cfi) = BinaryCfi::parse(file) {
        let mut context = CfiContext::default();
        for address in ADDRESSES {
            cfi.row(address, &mut context);
            let _at_hand = cfi.code_at(address).is_some() || cfi.code_before(address, 7).is_some();
        }
    }
    if let Ok(elf) = object::File::parse(file) {
        let files = DebugFiles { main: &elf, shared: None, paths: &[] };
        let _damaged = dwarf::frames_at(files, &ADDRESSES, true, &progress::doing("fuzz", 0)).is_ok();
    }
    let module = Module { kind: ModuleKind::Vdso, path: "[vdso]".to_owned(), ..Module::default() };
    let image = ModuleEvidence { module, image: Some(file.to_vec()), ..ModuleEvidence::default() };
    let evidence = Evidence { modules: vec![image], ..Evidence::default() };
    let locations = ADDRESSES.map(|address| Location::Module { module: 0, address });
    let names = Names::find(&locations, &evidence, &LocalFiles::default(), &Wanted::all());
    assert_eq!(names.locations.iter().count(), ADDRESSES.len());
});
