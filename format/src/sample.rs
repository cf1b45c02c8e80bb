//! A sample: where one thread was at one tick of the clock.

use crate::variants::numbered;

/// How many general registers a sample can hold: x86-64 uses 16 of them, aarch64 31.
pub const MAX_REGISTERS: usize = 32;

/// Where one thread was at one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Nanoseconds of CLOCK_MONOTONIC; a recording keeps them rounded up to a multiple of 1,024.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The CPU it ran on.
    pub cpu: u32,
    /// Return addresses in the kernel, innermost first; empty when the tick hit user code.
    pub kernel_chain: Vec<u64>,
    /// The user side: where the thread was, or would return to from the kernel.
    pub user: UserState,
    /// How many ticks of the header's period it stands for: 1 as long as the recorder did not have to slow down, at most
    /// [`Sample::MAX_WEIGHT`].
    pub weight: u32,
}

impl Sample {
    /// No sample stands for more ticks: sums of weights do not overflow.
    pub const MAX_WEIGHT: u32 = 1 << 16;
}

impl Default for Sample {
    fn default() -> Self {
        let (user, kernel_chain) = Default::default();
        Self { time: 0, pid: 0, tid: 0, cpu: 0, kernel_chain, user, weight: 1 }
    }
}

/// What is known of the user side of a sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all samples have a stack, and one sample is reused for all")]
pub enum UserState {
    /// Nothing: a kernel thread, or user stacks were not asked for.
    #[default]
    None,
    /// Only code addresses, innermost first: the kernel walked the frame pointers.
    Chain(Vec<u64>),
    /// Registers and a filtered stack, to be unwound later.
    Stack(UserStack),
    /// A stack that was unwound before the recording was passed on: no registers, no words.
    Unwound(UnwoundStack),
}

/// What the walk of a stack has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnwoundStack {
    /// Its frames, innermost first.
    pub frames: Vec<UnwoundFrame>,
    /// How the walk ended.
    pub verdict: Verdict,
}

impl UnwoundStack {
    /// How many frames can be stored; what is beyond is not written.
    pub const MAX_FRAMES: usize = 512 << 10;
}

/// A frame of an unwound stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwoundFrame {
    /// Where it is in the process; inside the call instruction if it made a call.
    pub address: u64,
    /// It was found by a rule of thumb, not by call frame information.
    pub guessed: bool,
}

/// How the walk of a stack ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Where there is no caller.
    Complete,
    /// At memory that was not recorded.
    Truncated,
    /// At code without call frame information.
    NoCfi,
    /// At a value that cannot be true.
    Implausible,
    /// There was no user stack to walk.
    #[default]
    NotRecorded,
    /// In a way that this version does not know.
    Other(u32),
}

numbered!(Verdict { 0 Complete, 1 Truncated, 2 NoCfi, 3 Implausible, 4 NotRecorded });

/// Registers and pointer-only stack memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserStack {
    /// The instruction pointer.
    pub ip: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The other registers that held a pointer to code or stack.
    pub registers: Registers,
    /// One past the highest address of the stack, as well as the recorder knew it; 0 when unknown.
    pub top: u64,
    /// What was captured: ranges of addresses, ascending, not overlapping, both ends multiples of
    /// 8. A word inside a range that is not in `words` pointed at neither code nor stack.
    pub ranges: Vec<StackRange>,
    /// The words that were kept, by ascending address.
    pub words: Vec<StackWord>,
}

impl UserStack {
    /// The value of the 8-byte word at `address`: `None` when it was not captured, `Some(0)` when
    /// it was captured and is not a pointer to code or stack.
    pub fn word(&self, address: u64) -> Option<u64> {
        if !self.captured(address) {
            return None;
        }
        Some(self.kept(address).map_or(0, |word| word.value))
    }

    /// The kept word at `address`. Deep stacks are deep by recursion, which spreads pointers evenly: the search starts where
    /// the address is in proportion, and widens from there.
    fn kept(&self, address: u64) -> Option<StackWord> {
        let words = &self.words[..];
        let (first, last) = (words.first()?.address, words.last()?.address);
        if address < first || address > last {
            return None;
        }
        let span = u128::from(last - first) + 1;
        let guess = (u128::from(address - first) * words.len() as u128 / span) as usize;
        let mut reach = 4;
        let (mut low, mut high) = (guess, guess + 1);
        while low > 0 && words[low].address > address {
            low = low.saturating_sub(reach);
            reach *= 4;
        }
        while high < words.len() && words[high].address <= address {
            high = (high + reach).min(words.len());
            reach *= 4;
        }
        let range = &words[low..high];
        let found = range.binary_search_by_key(&address, |word| word.address).ok()?;
        Some(range[found])
    }

    /// Whether the 8-byte word at `address` was captured.
    pub fn captured(&self, address: u64) -> bool {
        self.ranges.iter().any(|range| range.start <= address && address < range.end)
    }

    /// Whether the capture has a gap below the top of the stack or an unknown top.
    pub fn is_cut(&self) -> bool {
        !matches!(self.ranges[..], [range] if range.end >= self.top && self.top != 0)
    }
}

/// General registers by their DWARF number (x86-64: 0 rax, 1 rdx, 2 rcx, 3 rbx, 4 rsi, 5 rdi, 6
/// rbp, 7 rsp, 8 to 15 r8 to r15; aarch64: x0 to x30).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    known: u32,
    values: [u64; MAX_REGISTERS],
}

impl Registers {
    /// The value of a register, if it was kept.
    pub fn get(&self, number: usize) -> Option<u64> {
        (number < MAX_REGISTERS && self.known & (1 << number) != 0).then(|| self.values[number])
    }

    /// Keeps the value of a register; a number out of range is ignored.
    pub fn set(&mut self, number: usize, value: u64) {
        if number < MAX_REGISTERS {
            self.known |= 1 << number;
            self.values[number] = value;
        }
    }

    /// One bit for each register that is kept.
    pub fn mask(&self) -> u32 {
        self.known
    }

    /// Number and value of each register that is kept, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        (0..MAX_REGISTERS).filter_map(|number| Some((number, self.get(number)?)))
    }
}

/// A captured part of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackRange {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
}

/// An 8-byte word on a stack that points at code or stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackWord {
    /// Where it is; a multiple of 8.
    pub address: u64,
    /// What it holds.
    pub value: u64,
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every kept word is found and no other, however the words are spread.
        #[test]
        fn kept_words_are_found(slots in btree_set(prop_oneof![0u64..300, any::<u64>()], 0..80), other: u64) {
            let words: Vec<_> = slots.iter().map(|&address| StackWord { address, value: !address }).collect();
            let stack = UserStack { words, ..UserStack::default() };
            for &address in &slots {
                prop_assert_eq!(stack.kept(address).map(|word| word.value), Some(!address));
            }
            prop_assert_eq!(stack.kept(other).is_some(), slots.contains(&other));
        }
    }
}
