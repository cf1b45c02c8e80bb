//! The walk of a stack, from the innermost frame to its end, and the verdict on how it ended.
//!
//! At each frame, in this order:
//! 1. call frame information, exactly as it stands;
//! 2. where there is none, or it leads to a value that cannot be true: rules of thumb, whose result
//!    is marked as guessed;
//! 3. the end. It is a complete one only if the call frame information says that there is no
//!    caller (`_start` and `clone` of glibc), if the frame was put there by hand (`makecontext`, Go's `goexit`: its
//!    address is at the start of a function, where no call is), or if nothing between the stack pointer and the known
//!    top of the stack points at code, so that there cannot be a caller (`_start` of ld.so and
//!    other hand-written start code). Everything else is incomplete, and says why.

pub mod arch;
pub mod binary;
pub mod cache;
pub mod cfi;
pub mod expression;
pub mod fallback;
#[cfg(test)]
mod fixture;
pub mod memory;
pub mod rejoin;
pub mod row;
pub mod slices;
pub mod step;
#[cfg(test)]
mod tests;

use profrec_format::{Arch, UnwoundStack, UserStack};

use crate::address_space::AddressSpace;
use crate::evidence::ModuleIndex;
use crate::modules::Modules;
use crate::stacks::{Location, Verdict};
use arch::{FrameRegisters, Machine};
use cache::RowCache;
use memory::Memory;
use row::Rule;
use step::{Caller, Leaving, Stop};

/// Walks stacks. It remembers the rows that it has read; one for each thread of execution.
pub struct Unwinder<'a> {
    modules: &'a Modules<'a>,
    machine: Machine,
    rows: RowCache,
}

/// The process that a stack belongs to, as it was at that instant.
#[derive(Clone, Copy)]
pub struct ProcessView<'a> {
    /// Process id.
    pub pid: u32,
    /// Its executable mappings.
    pub space: &'a AddressSpace,
    /// The instant, in nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
}

/// A frame that the walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkedFrame {
    /// Where it is; inside the call instruction if it made a call.
    pub location: Location,
    /// The same place as an address of the process, or of the kernel.
    pub address: u64,
    /// It was found by a rule of thumb.
    pub guessed: bool,
}

/// A frame on the way.
struct Cursor {
    /// Where the frame goes on.
    instruction_pointer: u64,
    /// Inside the instruction that it executes: one less for a frame that made a call.
    address: u64,
    /// The same place in a module; `None` outside of all executable mappings.
    place: Option<(ModuleIndex, u64)>,
    interrupted: bool,
    registers: FrameRegisters,
    guessed: bool,
}

/// Frames beyond one for each captured pointer: signal frames and registers can hold return addresses too.
const SPARE_FRAMES: usize = 16;

/// The kernel walks at most this many frame pointers (`kernel.perf_event_max_stack`).
const KERNEL_CHAIN_LIMIT: usize = 127;

impl<'a> Unwinder<'a> {
    /// An unwinder for recordings of this architecture.
    pub fn new(modules: &'a Modules<'a>, arch: Arch) -> Self {
        Self { modules, machine: Machine::of(arch), rows: RowCache::default() }
    }

    /// What call frame information has cost so far: bytes of it, and operations of its expressions.
    pub fn work(&self) -> u64 {
        self.rows.work()
    }

    /// Walks a captured stack and appends its frames, innermost first.
    ///
    /// Each caller's return address is a captured word of its own, which bounds the walk: one that
    /// has more frames than that goes round in a circle.
    pub fn walk(&mut self, stack: &UserStack, process: ProcessView<'_>, frames: &mut Vec<WalkedFrame>) -> Verdict {
        let memory = Memory::new(stack);
        let mut cursor = self.innermost(stack, process);
        let mut has_guess = false;
        for _ in 0..stack.words.len() + SPARE_FRAMES {
            frames.push(self.frame(cursor.address, cursor.place, cursor.guessed, process));
            has_guess |= cursor.guessed;
            let next = self.step(&cursor, memory, process);
            match next.or_else(|stop| self.beyond(&cursor, stop, memory, process)) {
                Ok(next) => cursor = next,
                Err(stop) => {
                    match stop {
                        // A stack that was made by hand is told by one word alone: behind a guess that is no proof.
                        Stop::NewStack { .. } if has_guess => return Verdict::NoCfi,
                        Stop::Truncated => self.rejoin(stack, process, frames),
                        Stop::NewStack { first: true } => self.move_to_next(&cursor, process, frames),
                        _ => {}
                    }
                    return stop.verdict();
                }
            }
        }
        Verdict::Implausible
    }

    /// Frames of a chain of addresses that the kernel found by frame pointers. The kernel does not say
    /// why it stopped, so call frame information decides: the chain is complete if there is no
    /// caller where it ends; a chain that ends anywhere else broke off where a frame pointer was none.
    pub fn chain(&mut self, addresses: &[u64], process: ProcessView<'_>, frames: &mut Vec<WalkedFrame>) -> Verdict {
        let mut outermost = None;
        for (depth, &address) in addresses.iter().enumerate() {
            let address = if depth == 0 { address } else { address.wrapping_sub(1) };
            let place = self.place(address, process);
            frames.push(self.frame(address, place, false, process));
            outermost = place;
        }
        let in_call = addresses.len() > 1;
        let row = outermost.map(|(module, address)| (self.rows.row(self.modules, module, address, in_call), address));
        match row {
            _ if addresses.is_empty() => Verdict::NotRecorded,
            _ if addresses.len() >= KERNEL_CHAIN_LIMIT => Verdict::Truncated,
            Some((Some(row), _)) if row.return_address == Rule::Undefined => Verdict::Complete,
            Some((Some(row), address)) if in_call && self.machine.starts_a_stack(row, address) => Verdict::Complete,
            Some((None, _)) => Verdict::NoCfi,
            Some((Some(_), _)) | None => Verdict::Implausible,
        }
    }

    /// Frames of a stack that was unwound before, and how that ended.
    pub fn unwound(&self, stack: &UnwoundStack, process: ProcessView<'_>, frames: &mut Vec<WalkedFrame>) -> Verdict {
        frames.extend(stack.frames.iter().map(|frame| {
            let place = self.place(frame.address, process);
            self.frame(frame.address, place, frame.guessed, process)
        }));
        stack.verdict.into()
    }

    fn innermost(&self, stack: &UserStack, process: ProcessView<'_>) -> Cursor {
        Cursor {
            instruction_pointer: stack.ip,
            address: stack.ip,
            place: self.place(stack.ip, process),
            interrupted: true,
            registers: FrameRegisters::of(stack, self.machine),
            guessed: false,
        }
    }

    /// One step by call frame information.
    fn step(&mut self, cursor: &Cursor, memory: Memory<'_>, process: ProcessView<'_>) -> Result<Cursor, Stop> {
        let (module, address) = cursor.place.ok_or(Stop::Implausible)?;
        let in_call = !cursor.interrupted;
        let row = self.rows.row(self.modules, module, address, in_call).ok_or(Stop::NoCfi)?;
        if in_call && self.machine.starts_a_stack(row, address) {
            return Err(Stop::NewStack { first: row.start > address });
        }
        let caller = cursor.leaving(self.machine, memory).by_row(row)?;
        self.arrive(caller, process, false).ok_or(Stop::NoReturnAddress)
    }

    /// What follows a frame out of which call frame information does not lead.
    fn beyond(
        &mut self,
        cursor: &Cursor,
        stop: Stop,
        memory: Memory<'_>,
        process: ProcessView<'_>,
    ) -> Result<Cursor, Stop> {
        if matches!(stop, Stop::End | Stop::NewStack { .. } | Stop::Truncated) {
            return Err(stop);
        }
        if stop != Stop::Implausible && self.is_outermost(cursor, memory, process) {
            return Err(Stop::End);
        }
        let guesses = cursor.leaving(self.machine, memory).guesses(cursor.interrupted);
        for caller in guesses {
            if let Some(guess) = self.arrive(caller, process, true)
                && self.leads_on(&guess, memory, process)
            {
                return Ok(guess);
            }
        }
        Err(stop)
    }

    /// Whether there cannot be a caller, because nothing from the stack pointer to the known top of
    /// the stack points at code.
    fn is_outermost(&self, cursor: &Cursor, memory: Memory<'_>, process: ProcessView<'_>) -> bool {
        let is_code = |value: u64| value.checked_sub(1).is_some_and(|address| process.space.lookup(address).is_some());
        let stack_pointer = cursor.registers.get(self.machine.stack_pointer);
        stack_pointer.is_some_and(|stack_pointer| memory.ends_above(stack_pointer, is_code))
    }

    /// Whether a guessed frame makes sense: its own call frame information, if there is any, must
    /// lead to code, to the end of the stack or to memory that is not there.
    fn leads_on(&mut self, guess: &Cursor, memory: Memory<'_>, process: ProcessView<'_>) -> bool {
        let leads_nowhere = |stop| matches!(stop, Stop::NoReturnAddress | Stop::Implausible);
        !self.is_before_function(guess) && !self.step(guess, memory, process).is_err_and(leads_nowhere)
    }

    /// Whether a function begins where a guessed frame would go on, and nothing known ends there: what was taken for a return
    /// address is a pointer to that function.
    fn is_before_function(&mut self, guess: &Cursor) -> bool {
        let Some((module, address)) = guess.place else { return false };
        let mut is_known = |address| self.rows.row(self.modules, module, address, false).is_some();
        !is_known(address) && is_known(address.wrapping_add(1))
    }

    /// The caller's frame, if its return address is in code.
    fn arrive(&self, caller: Caller, process: ProcessView<'_>, guessed: bool) -> Option<Cursor> {
        let Caller { return_address, interrupted, registers } = caller;
        let address = if interrupted { return_address } else { return_address.checked_sub(1)? };
        let place = self.place(address, process);
        place?;
        Some(Cursor { instruction_pointer: return_address, address, place, interrupted, registers, guessed })
    }

    fn place(&self, address: u64, process: ProcessView<'_>) -> Option<(ModuleIndex, u64)> {
        let (module, offset) = process.space.lookup(address)?;
        Some((module, self.modules.address(module, offset)))
    }

    /// Moves the last frame to the next instruction: no call is before it.
    fn move_to_next(&self, cursor: &Cursor, process: ProcessView<'_>, frames: &mut [WalkedFrame]) {
        let address = cursor.instruction_pointer;
        if let Some(last) = frames.last_mut() {
            *last = self.frame(address, self.place(address, process), last.guessed, process);
        }
    }

    fn frame(
        &self,
        address: u64,
        place: Option<(ModuleIndex, u64)>,
        guessed: bool,
        process: ProcessView<'_>,
    ) -> WalkedFrame {
        let ProcessView { pid, time, .. } = process;
        let jit_name = |module| {
            let is_jit = self.modules.is_run_time_code(module);
            is_jit.then(|| self.modules.jit_name(pid, address, time)).flatten()
        };
        let location = match place {
            None => Location::Process { pid, address },
            Some((module, place)) => match jit_name(module) {
                Some(name) => Location::Jit { name },
                None if self.modules.is_anonymous(module) => Location::Anonymous { pid, address },
                None => Location::Module { module, address: place },
            },
        };
        WalkedFrame { location, address, guessed }
    }
}

impl Cursor {
    fn leaving<'b>(&'b self, machine: Machine, memory: Memory<'b>) -> Leaving<'b> {
        Leaving { machine, instruction_pointer: self.instruction_pointer, registers: &self.registers, memory }
    }
}
