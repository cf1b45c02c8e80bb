//! Names for the stubs through which a module calls others (`.plt`): no symbol table lists them.
//! Each stub jumps through a slot of the GOT, and the relocation of that slot names the function.

use foldhash::HashMap;
use object::{Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationTarget, elf};
use profrec_format::Symbol;

/// The sections of stubs.
const SECTIONS: [&str; 4] = [".plt", ".plt.sec", ".plt.got", ".iplt"];
/// What such a name ends with, as in gdb and perf.
pub(super) const SUFFIX: &str = "@plt";
/// No stub is longer; the last one of a section ends there.
const MAX_STUB: u64 = 24;
/// Where a stub begins, and the slot that it jumps through.
type Jump = (u64, u64);

/// What is particular about stubs of an architecture.
struct Form {
    /// Every jump through a slot in the bytes of a section at an address.
    jumps: fn(&[u8], u64) -> Vec<Jump>,
    /// The relocation of a slot that is filled with what a function chooses.
    chosen: u32,
}

/// `jmp *offset(%rip)` of x86-64, the jump of every form of stub.
const JUMP: [u8; 2] = [0xff, 0x25];
/// What may stand before the jump: the landing mark of indirect branches, and a prefix.
const LANDING: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
const BOUND: u8 = 0xf2;

/// `bti c` of aarch64, the landing mark.
const BTI: u32 = 0xd503_245f;

/// The stubs of a binary by the names of the functions that they lead to.
pub(super) fn stubs(file: &object::File<'_>) -> Vec<Symbol> {
    let form = match file.architecture() {
        object::Architecture::X86_64 => Form { jumps: jumps_of_x86_64, chosen: elf::R_X86_64_IRELATIVE.0 },
        object::Architecture::Aarch64 => Form { jumps: jumps_of_aarch64, chosen: elf::R_AARCH64_IRELATIVE.0 },
        _ => return Vec::new(),
    };
    let slots = slots(file, &form);
    let mut stubs = Vec::new();
    for name in SECTIONS {
        // A section without content, as in a debug file, has no stubs.
        let Some((address, code)) = file.section_by_name(name).and_then(|s| Some((s.address(), s.data().ok()?))) else {
            continue;
        };
        let end = address.saturating_add(code.len() as u64);
        let jumps = (form.jumps)(code, address).into_iter();
        let named: Vec<(u64, &str)> = jumps.filter_map(|(start, slot)| Some((start, *slots.get(&slot)?))).collect();
        for (index, (start, name)) in named.iter().enumerate() {
            let next = named.get(index + 1).map_or(end, |(next, _)| *next);
            let size = next.saturating_sub(*start).min(MAX_STUB);
            stubs.push(Symbol { address: *start, size, name: format!("{name}{SUFFIX}") });
        }
    }
    stubs
}

fn jumps_of_x86_64(code: &[u8], address: u64) -> Vec<Jump> {
    let jumps = code.windows(6).enumerate().filter_map(|(at, bytes)| {
        let offset = bytes.strip_prefix(&JUMP)?.first_chunk().copied().map(i32::from_le_bytes)?;
        let slot = address.wrapping_add(at as u64 + 6).wrapping_add_signed(i64::from(offset));
        let before = &code[..at];
        let before = before.strip_suffix(&[BOUND]).unwrap_or(before);
        let before = before.strip_suffix(&LANDING).unwrap_or(before);
        Some((address.wrapping_add(before.len() as u64), slot))
    });
    jumps.collect()
}

/// `adrp x16, page; ldr x17, [x16, offset]`, behind which the stub jumps to x17.
fn jumps_of_aarch64(code: &[u8], address: u64) -> Vec<Jump> {
    let words: Vec<u32> =
        code.chunks_exact(4).map(|word| word.first_chunk().copied().map_or(0, u32::from_le_bytes)).collect();
    let jumps = words.windows(2).enumerate().filter_map(|(index, pair)| {
        let (adrp, ldr) = (pair[0], pair[1]);
        if adrp & 0x9f00_001f != 0x9000_0010 || ldr & 0xffc0_03ff != 0xf940_0211 {
            return None;
        }
        // 21 bits with a sign, the lowest two of them apart.
        let pages = ((adrp >> 3) & 0x1f_fffc) | ((adrp >> 29) & 3);
        let pages = i64::from((pages << 11) as i32 >> 11);
        let start = address.wrapping_add(index as u64 * 4);
        let page = (start & !0xfff).wrapping_add_signed(pages << 12);
        let slot = page.wrapping_add(u64::from((ldr >> 10) & 0xfff) * 8);
        let has_mark = index.checked_sub(1).is_some_and(|before| words[before] == BTI);
        Some((if has_mark { start.wrapping_sub(4) } else { start }, slot))
    });
    jumps.collect()
}

/// The slots of the GOT that are filled with the addresses of functions, and their names.
fn slots<'a>(file: &object::File<'a>, form: &Form) -> HashMap<u64, &'a str> {
    let mut slots = chosen_at_start(file, form.chosen);
    let (Some(relocations), Some(symbols)) = (file.dynamic_relocations(), file.dynamic_symbol_table()) else {
        return slots;
    };
    for (slot, relocation) in relocations {
        // A slot whose symbol has no readable name is left nameless, as it would be without this.
        if let RelocationTarget::Symbol(index) = relocation.target()
            && let Some(name) = symbols.symbol_by_index(index).ok().and_then(|symbol| symbol.name().ok())
            && !name.is_empty()
        {
            slots.insert(slot, name);
        }
    }
    slots
}

/// The slots that are filled with what a function of the program itself chooses at its start (`memcpy` in a static program:
/// the one that is best on this processor). The symbol of the chooser has the name.
fn chosen_at_start<'a>(file: &object::File<'a>, chosen: u32) -> HashMap<u64, &'a str> {
    let mut choices: Vec<(u64, u64)> = Vec::new();
    for section in file.sections().filter(|section| section.name().is_ok_and(|name| name.starts_with(".rela."))) {
        for relocation in section.data().unwrap_or_default().chunks_exact(RELOCATION) {
            let word = |at: usize| relocation[at..].first_chunk().copied().map_or(0, u64::from_le_bytes);
            if word(8) == u64::from(chosen) {
                choices.push((word(0), word(16)));
            }
        }
    }
    let mut names: HashMap<u64, &str> = choices.iter().map(|(_, chooser)| (*chooser, "")).collect();
    // As everywhere, the plainest of several names: `memcpy`, not `__memcpy`.
    let plainness = |name: &str| (name.is_empty(), name.bytes().take_while(|byte| *byte == b'_').count(), name.len());
    for symbol in file.symbols() {
        if let (Some(best), Ok(name)) = (names.get_mut(&symbol.address()), symbol.name())
            && (plainness(name), name) < (plainness(best), *best)
        {
            *best = name;
        }
    }
    let named = choices.into_iter().filter_map(|(slot, chooser)| Some((slot, *names.get(&chooser)?)));
    named.filter(|(_, name)| !name.is_empty()).collect()
}

/// Bytes of a relocation with an addend.
const RELOCATION: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every form of stub: with and without the landing mark and the prefix, of 8 or 16 bytes, and the first entry of a lazy
    /// table, whose jump is no stub's.
    #[test]
    fn a_stub_leads_to_its_slot() {
        let plain = [0xff, 0x25, 0x10, 0, 0, 0, 0x68, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0];
        let marked = [0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0xf0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0];
        let short = [0xff, 0x25, 0, 0, 0, 0, 0x66, 0x90];
        let code = [&plain[..], &marked, &short].concat();
        assert_eq!(jumps_of_x86_64(&code, 0x1000), [(0x1000, 0x1016), (0x1010, 0x100b), (0x1020, 0x1026)]);
        assert!(jumps_of_x86_64(&[0x90; 16], 0).is_empty() && jumps_of_x86_64(&[0xff, 0x25, 0x10], 0).is_empty());
    }

    /// The same of aarch64: `adrp x16, 0x11000; ldr x17, [x16, #0x18]` at 0x640, with a mark before it and without, and one that
    /// leads back.
    #[test]
    fn a_stub_of_aarch64_leads_to_its_slot() {
        let (adrp, ldr, back) = (0xb000_0090_u32, 0xf940_0e11_u32, 0xf0ff_fff0_u32);
        let words = [BTI, adrp, ldr, 0x9100_6210, 0xd61f_0220, adrp, ldr, 0, back, ldr];
        let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(
            jumps_of_aarch64(&code, 0x640),
            [(0x640, 0x11018), (0x654, 0x11018), (0x660, 0xffff_ffff_ffff_f018)]
        );
    }
}
