//! Names of locations of every kind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::evidence::ModuleEvidence;
use crate::jit::JitGathering;
use profrec_format::{JitSymbol, KernelSymbol, Module, PerfMap, Symbol};

fn evidence() -> Evidence {
    let module = Module { path: "/opt/app/prog".into(), build_id: vec![7; 20], ..Module::default() };
    let symbols = vec![Symbol { address: 0x1000, size: 0x100, name: "_Z3foov".into() }];
    Evidence {
        modules: vec![ModuleEvidence { module, symbols, ..ModuleEvidence::default() }],
        kernel: vec![KernelSymbol { address: 0xffff_0000, size: 16, name: "do_work".into(), module: "ext4".into() }],
        ..Evidence::default()
    }
}

/// Two locations in one function are one function; what has no name says why.
#[test]
fn names_each_location_or_says_why_not() {
    let evidence = evidence();
    let locations = [
        Location::Module { module: 0, address: 0x1010 },
        Location::Module { module: 0, address: 0x1020 },
        Location::Module { module: 0, address: 0x2000 },
        Location::Kernel { address: 0xffff_0001 },
        Location::Kernel { address: 1 },
        Location::Process { pid: 1, address: 0x7f00 },
        Location::Module { module: 99, address: 0x1010 },
    ];
    let names = Names::find(&locations, &evidence, &LocalFiles::default(), &Wanted::all());
    let shown: Vec<&str> = names.functions.iter().map(|function| &*function.name).collect();
    assert_eq!(shown, ["foo()", "prog+0x2000", "do_work", "[kernel]+0x1", "[unknown]+0x7f00", "[unknown]+0x1010"]);
    assert_eq!(names.locations[0][0].function, names.locations[1][0].function);
    assert_eq!(
        names.unnamed,
        [
            None,
            None,
            Some(Reason::NotCovered),
            None,
            Some(Reason::KernelHidden),
            Some(Reason::OutsideModules),
            Some(Reason::OutsideModules)
        ]
    );
    assert_eq!(home_name(&names.functions[2].home, &evidence), "[ext4]");
    assert_eq!(names.modules[0].as_ref().unwrap().source, Source::Embedded);
}

/// Code that was made at run time has the name that its process told, or the reason why there is none.
#[test]
fn code_made_at_run_time() {
    let mut gathering = JitGathering::default();
    let symbols = vec![JitSymbol { time: 1, address: 0x100, size: 8, name: "JS:*f /a.js:1:1".into() }];
    gathering.add(PerfMap { pid: 7, symbols, ..PerfMap::default() });
    let evidence = Evidence { jit: gathering.finish(), ..Evidence::default() };
    let name = evidence.jit.find(7, 0x104, 2).unwrap();
    let locations = [
        Location::Jit { name },
        Location::Anonymous { pid: 7, address: 0x200 },
        Location::Anonymous { pid: 8, address: 0x104 },
    ];
    let names = Names::find(&locations, &evidence, &LocalFiles::default(), &Wanted::all());
    let shown: Vec<&str> = names.functions.iter().map(|function| &*function.name).collect();
    assert_eq!(shown, ["JS:*f /a.js:1:1", "[JIT]+0x200", "[JIT]+0x104"]);
    assert_eq!(names.unnamed, [None, Some(Reason::NotInPerfMap), Some(Reason::NoPerfMap)]);
    assert_eq!(home_name(&names.functions[0].home, &evidence), "[JIT]");
    assert!(names.lacks_jit_names());
}
