//! The walk of a stack, from the innermost frame to its end, and the verdict on how it ended.
//!
//! At each frame, in this order:
//! 1. call frame information, exactly as it stands;
//! 2. where there is none, or it leads to a value that cannot be true: rules of thumb, whose result
//!    is marked as guessed; last of all, a search for the outer frames;
//! 3. the end. It is a complete one only if the call frame information says that there is no
//!    caller (`_start` and `clone` of glibc), if the frame was put there by hand (`makecontext`, Go's `goexit`: its
//!    address is at the start of a function, where no call is), or if nothing between the stack pointer and the known
//!    top of the stack points at code, so that there cannot be a caller (`_start` of ld.so and
//!    other hand-written start code). Everything else is incomplete, and says why.

pub mod arch;
mod beyond;
pub mod binary;
pub mod cache;
pub mod calls;
pub mod cfi;
mod chain;
pub mod expression;
pub mod fallback;
#[cfg(test)]
mod fixture;
pub mod memory;
pub mod rejoin;
pub mod row;
mod shared;
pub mod signal;
mod signing;
pub mod slices;
mod start_code;
pub mod step;
#[cfg(test)]
mod tests;

use profrec_format::{Arch, UserStack};

use crate::address_space::AddressSpace;
use crate::evidence::ModuleIndex;
use crate::modules::Modules;
use crate::stacks::{Location, Verdict};
use arch::{FrameRegisters, Machine};
use cache::RowCache;
use memory::{Memory, Reads};
use shared::{LastWalk, LastWalks, Step};
use step::{Caller, Leaving, Stop};

/// Walks stacks. It remembers the rows that it has read, and the last walk of each thread; one for each thread of execution.
pub struct Unwinder<'a> {
    modules: &'a Modules<'a>,
    arch: Arch,
    machine: Machine,
    rows: RowCache,
    last_walks: LastWalks,
    strict: bool,
    shares: bool,
}

/// The thread that a stack belongs to, and its process as it was at that instant.
#[derive(Clone, Copy)]
pub struct ProcessView<'a> {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub thread: u32,
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

impl<'a> Unwinder<'a> {
    /// An unwinder for recordings of this architecture.
    pub fn new(modules: &'a Modules<'a>, arch: Arch) -> Self {
        let (rows, last_walks) = Default::default();
        Self { modules, arch, machine: Machine::of(arch), rows, last_walks, strict: false, shares: true }
    }

    /// Whether it guesses nothing: a stack ends where call frame information does not lead on.
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Walks every stack from one end to the other, whatever it has in common with the thread's stack before. The frames are the
    /// same: tests hold one against the other.
    pub fn without_sharing(self) -> Self {
        Self { shares: false, ..self }
    }

    /// What call frame information has cost so far: bytes of it, and operations of its expressions.
    pub fn work(&self) -> u64 {
        self.rows.work()
    }

    /// Walks a captured stack and appends its frames, innermost first.
    pub fn walk(&mut self, stack: &UserStack, process: ProcessView<'_>, frames: &mut Vec<WalkedFrame>) -> Verdict {
        let mapped = process.space.mappings().last().map_or(0, |mapping| mapping.end);
        self.machine = Machine::of(self.arch).reaching(stack.sp.max(stack.top).max(mapped));
        if !self.shares {
            self.last_walks = LastWalks::default();
        }
        let mut walk = self.last_walks.take(stack, process);
        let stop = self.walk_to_end(stack, process, &mut walk);
        frames.extend(walk.steps.iter().rev().map(|step| match step.is_run_time_code {
            true => self.frame(step.cursor.address, step.cursor.place, step.cursor.guessed, process),
            false => step.frame,
        }));
        let verdict = stop.map_or(Verdict::Implausible, |stop| self.finish(stop, &mut walk, (stack, process), frames));
        if stop.is_some() {
            self.last_walks.keep(process.thread, walk);
        }
        verdict
    }

    /// Finds all frames, and why there are no more. `None`: each caller's return address is a captured word of its own, so that a
    /// walk with more frames goes round in a circle.
    fn walk_to_end(&mut self, stack: &UserStack, process: ProcessView<'_>, walk: &mut LastWalk) -> Option<Stop> {
        let reads = Reads::default();
        let memory = Memory::new(stack, &reads);
        let most = stack.words.len() + SPARE_FRAMES;
        let mut cursor = self.innermost(stack, process);
        let mut inner = Vec::new();
        let stop = loop {
            if inner.len() == most {
                walk.steps.truncate(0);
                break None;
            }
            if let Some(rest) = walk.rest(&cursor, self.machine.stack_pointer).filter(|rest| inner.len() + rest <= most)
            {
                walk.steps.truncate(rest);
                walk.steps.last_mut().into_iter().for_each(|joined| joined.cursor.registers = cursor.registers);
                break Some(walk.stop);
            }
            let next = self.step(&cursor, memory, process);
            let next = next.or_else(|stop| self.beyond(&cursor, stop, memory, process));
            if next.as_ref().is_ok_and(|next| next.interrupted) {
                self.show_exactly(&mut cursor, process);
            }
            let step = self.walked(cursor, reads.take(), process);
            inner.push(step);
            match next {
                Ok(next) => cursor = next,
                Err(stop) => {
                    walk.steps.truncate(0);
                    break Some(stop);
                }
            }
        };
        walk.add(inner.into_iter());
        walk.stop = stop.unwrap_or(Stop::Implausible);
        stop
    }

    /// A signal frame has made no call: what a handler returns to is the very instruction.
    fn show_exactly(&self, cursor: &mut Cursor, process: ProcessView<'_>) {
        let place = self.place(cursor.instruction_pointer, process);
        if place.is_some() {
            (cursor.address, cursor.place) = (cursor.instruction_pointer, place);
        }
    }

    /// What is remembered of a frame.
    fn walked(&self, cursor: Cursor, (lowest, needs): (u64, u64), process: ProcessView<'_>) -> Step {
        let frame = self.frame(cursor.address, cursor.place, cursor.guessed, process);
        let is_run_time_code = cursor.place.is_some_and(|(module, _)| self.modules.is_run_time_code(module));
        Step { cursor, frame, is_run_time_code, lowest, needs }
    }

    /// The verdict on a walk, and what can still be told of frames further out.
    fn finish(
        &mut self,
        stop: Stop,
        walk: &mut LastWalk,
        (stack, process): (&UserStack, ProcessView<'_>),
        frames: &mut Vec<WalkedFrame>,
    ) -> Verdict {
        let known = walk.found.take();
        let has_guess = walk.steps.iter().any(|step| step.cursor.guessed);
        let Some(outermost) = walk.steps.first().map(|step| &step.cursor) else { return stop.verdict() };
        match stop {
            // A stack that was made by hand is told by one word alone: behind a guess that is no proof.
            Stop::NewStack { .. } if has_guess => return Verdict::NoCfi,
            Stop::NewStack { first: true } => self.move_to(outermost.instruction_pointer, process, frames),
            _ => {}
        }
        let start = self.start_of_search(stop, outermost, stack);
        walk.found = start.map(|start| match known {
            Some(found) if found.holds(start, stack, walk.boundary) => found,
            _ => self.search(start, stack, process),
        });
        let found = walk.found.iter().flat_map(|found| &found.frames);
        frames.extend(found.map(|frame| self.frame(frame.address, frame.place, frame.guessed, process)));
        stop.verdict()
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
        let of_row = self.address_of_row(module, address, in_call);
        let Some(row) = self.rows.row(self.modules, module, of_row, in_call) else {
            let code = self
                .modules
                .code_at(module, cursor.instruction_pointer.wrapping_sub(cursor.address).wrapping_add(address));
            let caller = cursor.leaving(self.machine, memory).by_signal_frame(self.arch, code.unwrap_or_default());
            return self.arrive(caller.ok_or(Stop::NoCfi)?, process, false).ok_or(Stop::NoReturnAddress);
        };
        if in_call && self.machine.starts_a_stack(row, address) {
            return Err(Stop::NewStack { first: row.start > address });
        }
        let caller = cursor.leaving(self.machine, memory).by_row(row)?;
        self.arrive(caller, process, false).ok_or(Stop::NoReturnAddress)
    }

    /// Where the row of an address is looked for: behind a system call that ends a function, such as `rt_sigreturn`, a thread that is in the
    /// kernel still is in that function.
    fn address_of_row(&mut self, module: ModuleIndex, address: u64, in_call: bool) -> u64 {
        let syscall: &[u8] = match self.arch {
            Arch::Aarch64 => &[0x01, 0, 0, 0xd4],
            _ => &[0x0f, 0x05],
        };
        let start = address.wrapping_sub(syscall.len() as u64);
        let is_behind = || self.modules.code_at(module, start).is_some_and(|code| code.starts_with(syscall));
        let is_last = !in_call && self.rows.row(self.modules, module, address, false).is_none() && is_behind();
        if is_last { start } else { address }
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

    /// Moves the last frame to another address of its process.
    fn move_to(&self, address: u64, process: ProcessView<'_>, frames: &mut [WalkedFrame]) {
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
    /// Whether another frame is at the same place of the same code, found in the same way.
    fn is_at(&self, other: &Self) -> bool {
        let way = |cursor: &Self| (cursor.instruction_pointer, cursor.interrupted, cursor.guessed);
        way(self) == way(other)
    }

    fn leaving<'b>(&'b self, machine: Machine, memory: Memory<'b>) -> Leaving<'b> {
        Leaving { machine, instruction_pointer: self.instruction_pointer, registers: &self.registers, memory }
    }
}
