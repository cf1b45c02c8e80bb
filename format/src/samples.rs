//! Samples to columns and back. Both sides keep the same state for the length of a segment: the
//! threads, the code addresses, the kernel chains and each thread's last stack.

use crate::chains::{self, ChainReader, ChainWriter};
use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::dictionary::{DictionaryReader, DictionaryWriter};
use crate::error::Error;
use crate::kernel_chains::{KernelChainReader, KernelChainWriter};
use crate::repeats::{Next, RepeatReader, RepeatWriter};
use crate::sample::{MAX_REGISTERS, Registers, Sample, StackRange, StackWord, UnwoundStack, UserStack, UserState};
use crate::stack::{StackSpan, WORDS_LIMIT, put_register, put_words, take_register, take_words};
use crate::threads::{ThreadReader, ThreadWriter};
use crate::times::{self, Ticks};
use crate::unwound;
use crate::varint::{fold, fold_words, unfold, unfold_words};
use crate::weights::{WeightDecoder, WeightEncoder};

/// More ranges than this are in no sample.
const RANGES_LIMIT: u64 = 64;

/// The shapes of a user side, as [`Column::Shape`] has them: a kind, and flags. A reader passes over flags that it does not know.
mod shape {
    pub(super) const NONE: u64 = 0;
    pub(super) const CHAIN: u64 = 1;
    pub(super) const STACK: u64 = 2;
    /// The stack's top is not the thread's top before.
    pub(super) const NEW_TOP: u64 = 4;
    /// The captured ranges are not just "stack pointer to top".
    pub(super) const OTHER_RANGES: u64 = 8;
    /// The chain is an unwound stack, of which other columns say more.
    pub(super) const UNWOUND: u64 = 16;
}

/// What a thread's next stack is compared with.
#[derive(Debug, Default)]
struct LastStack {
    top: u64,
    /// By ascending address for the writer, by descending address for the reader.
    words: Vec<StackWord>,
}

/// Code addresses that a sample's address space had not shown before in this segment.
#[derive(Clone, Copy, Debug)]
pub struct NewAddresses<'a> {
    /// In user code; holds those that it showed before another space did, too.
    pub code: &'a [u64],
    /// In the kernel.
    pub kernel: &'a [u64],
}

/// The writer's side.
#[derive(Debug, Default)]
pub(crate) struct SampleEncoder {
    columns: ColumnWriter,
    dictionary: DictionaryWriter,
    threads: ThreadWriter,
    last_stacks: Vec<LastStack>,
    kernel_chains: KernelChainWriter,
    user_chains: ChainWriter,
    new_kernel: Vec<u64>,
    count: u32,
    weights: WeightEncoder,
    /// Where samples are counts.
    repeats: Option<RepeatWriter>,
    /// The kernel chain of the sample before as its column has it, and the shape of its user side.
    before: (u64, u64),
    ticks: Ticks,
    times: (u64, u64),
}

impl SampleEncoder {
    /// For samples of a clock that ticks after so many nanoseconds.
    pub(crate) fn new(period: u64) -> Self {
        Self { ticks: Ticks::every(period), ..Self::default() }
    }

    /// For counts, which follow each other by their stacks.
    pub(crate) fn of_counts() -> Self {
        Self { repeats: Some(RepeatWriter::default()), ..Self::default() }
    }

    /// Samples that wait to be drained.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Ticks that the samples that wait stand for.
    pub(crate) fn waiting_ticks(&self) -> u64 {
        self.weights.ticks()
    }

    /// Addresses of the kernel's chains that the segment has.
    pub(crate) fn kernel_addresses(&self) -> usize {
        self.kernel_chains.addresses()
    }

    /// Bytes that wait to be drained.
    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// The earliest and the latest time of the samples that wait.
    pub(crate) fn times(&self) -> (u64, u64) {
        self.times
    }

    /// Appends the waiting samples' columns and empties them; the state stays.
    pub(crate) fn drain_into(&mut self, out: &mut Vec<u8>) {
        self.threads.end_frame(&mut self.columns, self.repeats.as_mut());
        self.weights.end_frame(&mut self.columns);
        self.columns.drain_into(out);
        self.count = 0;
    }

    /// Adds a sample of an address space.
    pub(crate) fn put(&mut self, sample: &Sample, space: u32) -> NewAddresses<'_> {
        self.dictionary.start_sample(space);
        self.new_kernel.clear();
        self.put_time(sample.time, sample.cpu);
        self.count += 1;
        self.columns.put(Column::Cpu, u64::from(sample.cpu));
        self.weights.put(&mut self.columns, sample.weight);
        let thread = self.put_thread(sample.pid, sample.tid);
        if !self.repeat(sample) {
            self.put_kernel_chain(&sample.kernel_chain);
            match &sample.user {
                UserState::None => self.put_shape(shape::NONE),
                UserState::Chain(addresses) => self.put_chain(shape::CHAIN, addresses),
                UserState::Stack(stack) => self.put_stack(thread, stack),
                UserState::Unwound(stack) => self.put_unwound(stack),
            }
        }
        NewAddresses { code: self.dictionary.new_to_space(), kernel: &self.new_kernel }
    }

    fn put_time(&mut self, time: u64, cpu: u32) {
        let step = times::step(time);
        let time = times::time(step);
        if self.count == 0 {
            self.columns.put(Column::Time, self.ticks.period);
            self.times = (time, time);
        }
        let due = if self.repeats.is_some() { self.ticks.before } else { self.ticks.due(cpu) };
        self.columns.put(Column::Time, fold(step.wrapping_sub(due)));
        self.ticks.note(cpu, step);
        self.times = (self.times.0.min(time), self.times.1.max(time));
    }

    fn put_thread(&mut self, pid: u32, tid: u32) -> usize {
        let place = self.threads.put((pid, tid));
        self.last_stacks.resize_with(self.threads.len(), LastStack::default);
        place
    }

    /// Whether a sample repeats the stack of the one before, which is told already.
    fn repeat(&mut self, sample: &Sample) -> bool {
        let Some(repeats) = &mut self.repeats else { return false };
        let is_same = self.kernel_chains.known(&sample.kernel_chain) == Some(self.before.0)
            && match &sample.user {
                UserState::None => self.before.1 == shape::NONE,
                UserState::Chain(addresses) => self.before.1 == shape::CHAIN && self.user_chains.is_before(addresses),
                UserState::Stack(_) | UserState::Unwound(_) => false,
            };
        if !is_same || !repeats.repeat() {
            repeats.start();
            return false;
        }
        if self.before.1 == shape::CHAIN {
            self.user_chains.repeat(&mut self.dictionary);
        }
        true
    }

    fn put_shape(&mut self, shape: u64) {
        self.columns.put(Column::Shape, shape);
        self.before.1 = shape;
    }

    fn put_kernel_chain(&mut self, chain: &[u64]) {
        let (number, is_new) = self.kernel_chains.put((&mut self.columns, &mut self.dictionary), chain);
        self.before.0 = number;
        if is_new {
            self.new_kernel.extend_from_slice(chain);
        }
    }

    fn put_chain(&mut self, shape: u64, addresses: &[u64]) {
        self.put_shape(shape);
        self.user_chains.put((&mut self.columns, &mut self.dictionary), chains::USER, addresses);
    }

    fn put_unwound(&mut self, stack: &UnwoundStack) {
        self.put_chain(shape::CHAIN | shape::UNWOUND, &unwound::chain(stack));
        unwound::put(&mut self.columns, stack);
    }

    fn put_stack(&mut self, thread: usize, stack: &UserStack) {
        let Self { columns, dictionary, last_stacks, before, .. } = self;
        let last = &mut last_stacks[thread];
        let new_top = stack.top != last.top;
        let other_ranges = stack.ranges != [whole_range(stack.sp, stack.top)];
        let flags = if new_top { shape::NEW_TOP } else { 0 } | if other_ranges { shape::OTHER_RANGES } else { 0 };
        columns.put(Column::Shape, shape::STACK | flags);
        before.1 = shape::STACK;
        if new_top {
            columns.put(Column::Top, fold_words(stack.top.wrapping_sub(last.top)));
        }
        let end = stack.ranges.last().map_or(stack.top, |range| range.end.max(stack.top));
        let span = StackSpan { start: stack.sp, end, ranges: &stack.ranges };
        // A reader refuses more; the innermost are kept.
        let words = &stack.words[..stack.words.len().min(WORDS_LIMIT)];
        let lowest = put_words(columns, dictionary, (span, stack.top), (&last.words, words));
        columns.put(Column::Stack, lowest.wrapping_sub(stack.sp).rotate_right(3));
        if other_ranges {
            put_ranges(columns, stack);
        }
        let ip = dictionary.token(columns, stack.ip);
        columns.put(Column::Stack, ip);
        columns.put(Column::Stack, u64::from(stack.registers.mask()));
        for (_, value) in stack.registers.iter() {
            put_register(columns, dictionary, span, stack.sp, value);
        }
        last.top = stack.top;
        last.words.clear();
        last.words.extend_from_slice(words);
    }
}

/// The range that a stack captured without a gap has.
fn whole_range(sp: u64, top: u64) -> StackRange {
    StackRange { start: sp & !7, end: top }
}

fn put_ranges(columns: &mut ColumnWriter, stack: &UserStack) {
    let ranges = &stack.ranges[..stack.ranges.len().min(RANGES_LIMIT as usize)];
    columns.put(Column::Ranges, ranges.len() as u64);
    let mut from = stack.sp;
    for range in ranges {
        columns.put(Column::Ranges, fold_words(range.start.wrapping_sub(from)));
        columns.put(Column::Ranges, fold_words(range.end.wrapping_sub(range.start)));
        from = range.end;
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct SampleDecoder {
    dictionary: DictionaryReader,
    threads: ThreadReader,
    last_stacks: Vec<LastStack>,
    kernel_chains: KernelChainReader,
    user_chains: ChainReader,
    weights: WeightDecoder,
    repeats: RepeatReader,
    /// The kernel chain of the sample before as its column has it, and the shape of its user side.
    before: (u64, u64),
    ticks: Ticks,
    /// Memory for a stack's words by descending address.
    words: Vec<StackWord>,
}

impl SampleDecoder {
    /// Begins a frame; that before it has to be at its end.
    pub(crate) fn start_frame(&mut self, columns: &mut ColumnReader) -> Result<(), Error> {
        self.ticks.period = columns.take(Column::Time)?;
        self.threads.start_frame(columns)?;
        self.weights.start_frame(columns);
        self.repeats.start_frame(columns);
        self.user_chains.start_frame(columns, chains::USER);
        self.kernel_chains.start_frame(columns);
        Ok(())
    }

    /// An error where a frame ends before its samples do.
    pub(crate) fn require_end(&self) -> Result<(), Error> {
        self.repeats.require_end()
    }

    /// Reads the next sample of a frame.
    pub(crate) fn take(&mut self, columns: &mut ColumnReader, sample: &mut Sample) -> Result<(), Error> {
        let next = self.repeats.next(columns)?;
        sample.cpu = columns.take32(Column::Cpu)?;
        let due = if self.repeats.are_there() { self.ticks.before } else { self.ticks.due(sample.cpu) };
        let step = due.wrapping_add(unfold(columns.take(Column::Time)?));
        self.ticks.note(sample.cpu, step);
        sample.time = times::time(step);
        sample.weight = self.weights.take(columns)?;
        let thread = self.take_thread(columns, sample)?;
        if next != Next::Repeated {
            let chain = self.kernel_chains.take(columns, &mut self.dictionary)?;
            self.before = (chain, columns.take(Column::Shape)?);
        }
        sample.kernel_chain.clear();
        sample.kernel_chain.extend_from_slice(self.kernel_chains.chain(self.before.0));
        self.take_user(columns, (thread, next), &mut sample.user)
    }

    fn take_thread(&mut self, columns: &mut ColumnReader, sample: &mut Sample) -> Result<usize, Error> {
        let (place, ids) = match self.repeats.are_there() {
            true => self.threads.take_repeated(columns, &mut self.repeats)?,
            false => self.threads.take(columns)?,
        };
        (sample.pid, sample.tid) = ids;
        self.last_stacks.resize_with(self.threads.len(), LastStack::default);
        Ok(place)
    }

    /// The user side of the shape at hand.
    fn take_user(
        &mut self,
        columns: &mut ColumnReader,
        (thread, next): (usize, Next),
        user: &mut UserState,
    ) -> Result<(), Error> {
        let shape = self.before.1;
        match (shape & 3, next) {
            (shape::NONE, _) => *user = UserState::None,
            (shape::CHAIN, Next::Repeated) if shape & shape::UNWOUND == 0 => {
                *user = UserState::Chain(self.user_chains.before().to_vec());
            }
            (shape::CHAIN, Next::Sample | Next::First) => {
                let addresses = self.user_chains.take((columns, &mut self.dictionary), chains::USER)?;
                *user = if shape & shape::UNWOUND == 0 {
                    UserState::Chain(addresses.to_vec())
                } else {
                    UserState::Unwound(unwound::take(columns, addresses)?)
                };
            }
            (shape::STACK, Next::Sample | Next::First) => {
                if !matches!(user, UserState::Stack(_)) {
                    *user = UserState::Stack(UserStack::default());
                }
                if let UserState::Stack(stack) = user {
                    self.take_stack(columns, thread, shape, stack)?;
                }
            }
            _ => return Err(columns.unexpected(Column::Shape, "a known shape of a sample, which can be repeated")),
        }
        Ok(())
    }

    fn take_stack(
        &mut self,
        columns: &mut ColumnReader,
        thread: usize,
        shape: u64,
        stack: &mut UserStack,
    ) -> Result<(), Error> {
        let last = &mut self.last_stacks[thread];
        stack.top = last.top;
        if shape & shape::NEW_TOP != 0 {
            stack.top = last.top.wrapping_add(unfold_words(columns.take(Column::Top)?));
        }
        let lowest = take_words(columns, &mut self.dictionary, stack.top, &last.words, &mut self.words)?;
        stack.sp = lowest.wrapping_sub(columns.take(Column::Stack)?.rotate_left(3));
        stack.ranges.clear();
        if shape & shape::OTHER_RANGES != 0 {
            take_ranges(columns, stack)?;
        } else {
            stack.ranges.push(whole_range(stack.sp, stack.top));
        }
        let ip = columns.take(Column::Stack)?;
        stack.ip = self.dictionary.address(columns, ip)?;
        let mask = columns.take32(Column::Stack)?;
        stack.registers = Registers::default();
        for number in (0..MAX_REGISTERS).filter(|number| mask & (1 << number) != 0) {
            let value = take_register(columns, &mut self.dictionary, stack.sp)?;
            stack.registers.set(number, value);
        }
        stack.words.clear();
        stack.words.extend(self.words.iter().rev());
        last.top = stack.top;
        std::mem::swap(&mut last.words, &mut self.words);
        Ok(())
    }
}

fn take_ranges(columns: &mut ColumnReader, stack: &mut UserStack) -> Result<(), Error> {
    let count = columns.take(Column::Ranges)?;
    if count > RANGES_LIMIT {
        return Err(columns.unexpected(Column::Ranges, "at most 64 captured ranges"));
    }
    let mut from = stack.sp;
    for _ in 0..count {
        let start = from.wrapping_add(unfold_words(columns.take(Column::Ranges)?));
        let end = start.wrapping_add(unfold_words(columns.take(Column::Ranges)?));
        stack.ranges.push(StackRange { start, end });
        from = end;
    }
    Ok(())
}
