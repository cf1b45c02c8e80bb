//! Names for the stubs through which a module calls others (`.plt`): no symbol table lists them.
//! Each stub jumps through a slot of the GOT, and the relocation of that slot names the function.

use foldhash::HashMap;
use object::{Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationTarget};
use profrec_format::Symbol;

/// The sections of stubs, and the size of a stub in each.
const SECTIONS: [(&str, usize); 3] = [(".plt", 16), (".plt.sec", 16), (".plt.got", 8)];
/// What such a name ends with, as in gdb and perf.
pub(super) const SUFFIX: &str = "@plt";
/// `jmp *offset(%rip)` of x86-64, the jump of every form of stub.
const JUMP: [u8; 2] = [0xff, 0x25];

/// The stubs of a binary by the names of the functions that they lead to. Only x86-64 is known.
pub(super) fn stubs(file: &object::File<'_>) -> Vec<Symbol> {
    if file.architecture() != object::Architecture::X86_64 {
        return Vec::new();
    }
    let slots = slots(file);
    let mut stubs = Vec::new();
    for (name, size) in SECTIONS {
        // A section without content, as in a debug file, has no stubs.
        let Some((address, code)) = file.section_by_name(name).and_then(|s| Some((s.address(), s.data().ok()?))) else {
            continue;
        };
        for (index, stub) in code.chunks_exact(size).enumerate() {
            let address = address.wrapping_add((index * size) as u64);
            if let Some(name) = slot_of(stub, address).and_then(|slot| slots.get(&slot)) {
                stubs.push(Symbol { address, size: size as u64, name: format!("{name}{SUFFIX}") });
            }
        }
    }
    stubs
}

/// The slots of the GOT that are filled with the addresses of functions elsewhere, and their names.
fn slots<'a>(file: &object::File<'a>) -> HashMap<u64, &'a str> {
    let (Some(relocations), Some(symbols)) = (file.dynamic_relocations(), file.dynamic_symbol_table()) else {
        return HashMap::default();
    };
    let slots = relocations.filter_map(|(slot, relocation)| match relocation.target() {
        // A slot whose symbol has no readable name is left nameless, as it would be without this.
        RelocationTarget::Symbol(index) => Some((slot, symbols.symbol_by_index(index).ok()?.name().ok()?)),
        _ => None,
    });
    slots.filter(|(_, name)| !name.is_empty()).collect()
}

/// The slot that a stub at `address` jumps through.
fn slot_of(stub: &[u8], address: u64) -> Option<u64> {
    let jump = stub.windows(2).position(|bytes| bytes == JUMP)?;
    let offset = stub.get(jump + 2..jump + 6)?.try_into().ok()?;
    let next = address.wrapping_add(jump as u64 + 6);
    Some(next.wrapping_add_signed(i64::from(i32::from_le_bytes(offset))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both forms of stub: with and without the landing mark of indirect branches.
    #[test]
    fn a_stub_leads_to_its_slot() {
        let plain = [0xff, 0x25, 0x10, 0, 0, 0, 0x68, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0];
        assert_eq!(slot_of(&plain, 0x1000), Some(0x1016));
        let marked = [0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0xf0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0];
        assert_eq!(slot_of(&marked, 0x1000), Some(0xffb));
        assert_eq!(slot_of(&[0x90; 16], 0x1000), None);
        assert_eq!(slot_of(&[0xff, 0x25, 0x10], 0x1000), None);
    }
}
