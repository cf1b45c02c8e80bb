//! Symbols as a recording carries them: of the kernel, of a module, mangled, and a compressed table.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use profrec_format::{KernelSymbol, Symbol};
use profrec_report::escape;
use profrec_report::evidence::{Evidence, ModuleEvidence};
use profrec_report::local_files::LocalFiles;
use profrec_report::stacks::Location;
use profrec_report::symbols::{Names, Wanted};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    kernel: Vec<(u64, u64, &'a str, &'a str)>,
    module: Vec<(u64, u64, &'a str)>,
    mangling: u8,
    mini_debug_info: Option<&'a [u8]>,
    addresses: Vec<u64>,
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(bytes)) else { return };
    let prefix = ["", "_R", "_ZN", "_Z"][usize::from(input.mangling % 4)];
    let kernel = input.kernel.iter().map(|&(address, size, name, module)| KernelSymbol {
        address,
        size,
        name: name.to_owned(),
        module: module.to_owned(),
    });
    let symbols =
        input.module.iter().map(|&(address, size, name)| Symbol { address, size, name: format!("{prefix}{name}") });
    let mut evidence = Evidence { kernel: kernel.collect(), ..Evidence::default() };
    evidence.kernel.sort_by_key(|symbol| symbol.address);
    let mini_debug_info = input.mini_debug_info.map(<[u8]>::to_vec);
    evidence.modules.push(ModuleEvidence { symbols: symbols.collect(), mini_debug_info, ..Default::default() });
    let known = input.kernel.iter().map(|symbol| symbol.0).chain(input.module.iter().map(|symbol| symbol.0));
    let addresses = known.chain(input.addresses.iter().copied());
    let mut locations: Vec<Location> =
        addresses.flat_map(|address| [Location::Kernel { address }, Location::Module { module: 0, address }]).collect();
    locations.sort_unstable();
    locations.dedup();
    let names = Names::find(&locations, &evidence, &LocalFiles::default(), &Wanted::all());
    assert_eq!(names.locations.iter().count(), locations.len());
    for function in &names.functions {
        let line = escape::folded_frame(&function.name);
        assert!(!line.contains([';', '\n', '\x1b']), "{line:?}");
    }
});
