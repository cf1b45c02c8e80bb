//! Compressed sections, and the compressed symbol table of stripped programs.

use object::{Object, ObjectSection};

use super::program::{Program, folders};
use super::toolchain::needs;

/// The program with compressed sections, made by `compress` from `prog`, has all its names.
fn require_names(compress: impl FnOnce(&Program)) {
    let program = Program::new().recorded_at("compressed");
    compress(&program);
    let sections = program.run("readelf -SW compressed");
    let is_compressed =
        |line: &str| line.contains(".zdebug_info") || line.contains(".debug_info") && line.contains(" C ");
    assert!(sections.lines().any(is_compressed), "{sections}");
    program.find(&folders(&[])).require_debug_info();
}

/// Sections in the form of the ELF standard, with zlib.
#[test]
fn sections_with_zlib() {
    needs!("objcopy");
    require_names(|program| drop(program.run("objcopy --compress-debug-sections=zlib prog compressed")));
}

/// The older form of GNU, under names of its own (`.zdebug_info`).
#[test]
fn sections_in_the_old_form() {
    needs!("objcopy");
    require_names(|program| drop(program.run("objcopy --compress-debug-sections=zlib-gnu prog compressed")));
}

/// Sections with zstd. Older binutils and LLVM cannot make them, so only the sections' places are theirs.
#[test]
fn sections_with_zstd() {
    needs!("objcopy");
    require_names(|program| {
        program.run("objcopy prog compressed");
        for section in [".debug_info", ".debug_abbrev", ".debug_line", ".debug_str", ".debug_rnglists"] {
            compress_with_zstd(program, section);
        }
    });
}

fn compress_with_zstd(program: &Program, section: &str) {
    const ZSTD: u32 = 2;
    const COMPRESSED: u64 = 0x800;
    program.run(&format!("objcopy --dump-section {section}=content compressed"));
    let content = std::fs::read(program.path("content")).unwrap();
    let mut bytes = [ZSTD, 0].map(u32::to_le_bytes).concat();
    bytes.extend([content.len() as u64, 1].map(u64::to_le_bytes).concat());
    bytes.extend(zstd::encode_all(&content[..], 3).unwrap());
    std::fs::write(program.path("content"), bytes).unwrap();
    program.run(&format!("objcopy --update-section {section}=content compressed"));

    // objcopy has no name for the flag.
    let mut file = std::fs::read(program.path("compressed")).unwrap();
    let index = object::File::parse(&*file).unwrap().section_by_name(section).unwrap().index().0;
    let headers = u64::from_le_bytes(*file[40..].first_chunk().unwrap()) as usize;
    let flags = headers + 64 * index + 8;
    file[flags + 1] |= (COMPRESSED >> 8) as u8;
    std::fs::write(program.path("compressed"), file).unwrap();
}

/// A stripped program with a compressed symbol table (`.gnu_debugdata`), beside which exported functions stay in
/// `.dynsym` alone, as Fedora builds them.
#[test]
fn mini_debug_info() {
    needs!("objcopy", "strip", "xz");
    let program = Program::new().recorded_at("stripped");
    program.run("objcopy --only-keep-debug prog mini");
    program.run("objcopy -S --remove-section=.comment --keep-symbol=hidden mini");
    program.run("xz mini");
    program.run("strip --strip-all -o stripped prog");
    let found = program.find(&folders(&[]));
    assert_eq!(found.functions().iter().filter(|name| name.starts_with("stripped+0x")).count(), 1, "it is stripped");
    program.run("objcopy --add-section .gnu_debugdata=mini.xz stripped");
    let found = program.find(&folders(&[]));
    assert_eq!((found.functions(), found.source()), (vec!["exported", "hidden"], "symbol_table"));
}
