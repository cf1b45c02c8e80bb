//! What the code around an address tells: whether a call stands before it, what made a return address; and whether a frame
//! pointer is being saved or restored there.

use profrec_format::Arch;

/// Bytes of the longest call, and of the longest piece of code that is looked at.
pub const LONGEST: usize = 7;

/// Whether code may end in a call.
pub fn ends_in_call(arch: Arch, code: &[u8]) -> bool {
    match arch {
        Arch::Aarch64 => code.last_chunk().is_some_and(|code| is_aarch64_call(u32::from_le_bytes(*code))),
        _ => is_direct_x86_call(code) || (2..=LONGEST).any(|length| is_indirect_x86_call(code, length)),
    }
}

/// Whether an instruction of x86-64 is between `push %rbp` and `mov %rsp,%rbp`, or is the `pop %rbp` before a `ret`. `is_at` tells whether
/// this code stands so many bytes before it.
pub fn is_frame_pointer_saved(is_at: impl Fn(u64, &[u8]) -> bool) -> bool {
    // An assembler may write the move in two ways. Behind a REX prefix, 55 pushes another register: 41 55 is `push %r13`.
    let is_pushed = is_at(1, &[0x55, 0x48, 0x89, 0xe5]) || is_at(1, &[0x55, 0x48, 0x8b, 0xec]);
    is_pushed && !(0x40..=0x4f).any(|prefix| is_at(2, &[prefix, 0x55])) || is_at(0, &[0x5d, 0xc3])
}

/// `bl`, `blr`, and those that check a signed address (`blraa` and others).
fn is_aarch64_call(instruction: u32) -> bool {
    instruction & 0xfc00_0000 == 0x9400_0000
        || instruction & 0xffff_fc1f == 0xd63f_0000
        || instruction & 0xfeff_f800 == 0xd63f_0800
}

/// `e8` and a distance of four bytes.
fn is_direct_x86_call(code: &[u8]) -> bool {
    code.len().checked_sub(5).is_some_and(|start| code[start] == 0xe8)
}

/// `ff /2`, of exactly this length.
fn is_indirect_x86_call(code: &[u8], length: usize) -> bool {
    let Some([0xff, modrm, rest @ ..]) = code.len().checked_sub(length).map(|start| &code[start..]) else {
        return false;
    };
    let (kind, operation, base) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    let has_index = kind != 3 && base == 4;
    let distance = match (kind, base) {
        (3, _) => 0,
        (0, 5) => 4,
        (0, 4) if rest.first().is_some_and(|index| index & 7 == 5) => 4,
        (0, _) => 0,
        (1, _) => 1,
        _ => 4,
    };
    operation == 2 && length == 2 + usize::from(has_index) + distance
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every form of call that GNU as makes is known, with and without prefixes.
    #[test]
    fn calls_are_known() {
        let calls: [&[u8]; 13] = [
            &[0xe8, 1, 2, 3, 4],
            &[0xff, 0xd0],
            &[0x41, 0xff, 0xd3],
            &[0xff, 0x10],
            &[0xff, 0x50, 0x18],
            &[0xff, 0x90, 0, 1, 0, 0],
            &[0xff, 0x14, 0xc8],
            &[0xff, 0x14, 0xc5, 0, 0, 0, 0],
            &[0xff, 0x54, 0x24, 0x08],
            &[0xff, 0x94, 0xc8, 0, 1, 0, 0],
            &[0xff, 0x15, 0, 1, 0, 0],
            &[0x3e, 0xff, 0xd0],
            &[0x67, 0xe8, 1, 2, 3, 4],
        ];
        for call in calls {
            assert!(ends_in_call(Arch::X86_64, call), "{call:x?}");
        }
    }

    /// Other instructions are none: pushes, jumps, a call that ends elsewhere, nothing.
    #[test]
    fn what_is_no_call() {
        for code in
            [&[0x55, 0x48, 0x89, 0xe5][..], &[0xff, 0xe0], &[0xff, 0x30], &[0xff, 0x50, 0x18, 0x90], &[0xe8], &[]]
        {
            assert!(!ends_in_call(Arch::X86_64, code), "{code:x?}");
        }
    }

    /// `push %rbp` before its move is known, in both ways to write it, with and without `endbr64`; `push %r13` before the same move is
    /// none, nor is an instruction later.
    #[test]
    fn a_push_of_another_register_saves_no_frame_pointer() {
        let is_saved = |code: &[u8], at: usize| {
            is_frame_pointer_saved(|distance, wanted| {
                let start = at.checked_sub(distance as usize);
                start.and_then(|start| code.get(start..)).is_some_and(|code| code.starts_with(wanted))
            })
        };
        assert!(is_saved(&[0x55, 0x48, 0x89, 0xe5], 1));
        assert!(is_saved(&[0x55, 0x48, 0x8b, 0xec], 1));
        assert!(is_saved(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5], 5));
        assert!(is_saved(&[0x41, 0x5d, 0x5d, 0xc3], 2));
        assert!(!is_saved(&[0x41, 0x55, 0x48, 0x89, 0xe5], 2));
        assert!(!is_saved(&[0x41, 0x55, 0x48, 0x8b, 0xec], 2));
        assert!(!is_saved(&[0x55, 0x48, 0x89, 0xe5, 0x90], 4));
    }

    /// bl, blr x3, blraa x1, x2, blraaz x1 are calls; b, br, ret and half an instruction are not.
    #[test]
    fn calls_of_aarch64() {
        let ends = |instruction: u32| ends_in_call(Arch::Aarch64, &instruction.to_le_bytes());
        assert!([0x9400_0010, 0x97ff_fff0, 0xd63f_0060, 0xd73f_0822, 0xd63f_083f].into_iter().all(ends));
        assert!(![0x1400_0010, 0xd61f_0060, 0xd65f_03c0, 0xd503_201f].into_iter().any(ends));
        assert!(!ends_in_call(Arch::Aarch64, &[0, 0, 0]));
    }
}
