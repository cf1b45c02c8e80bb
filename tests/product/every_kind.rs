//! A recording with all that can be written: every kind of record, several segments, and samples as no program makes them.

use profrec_format::{
    CallGraph, CfiEntry, CfiSection, Exec, Exit, Fork, FunctionExtents, Header, Image, JitSymbol, KernelSymbol,
    KernelSymbols, Layout, LoadSegment, Loss, LossCause, Machine, Mapping, MiniDebugInfo, Module, ModuleKind, Outcome,
    Pace, PaceReason, PerfMap, Process, RawStack, Record, Sample, SelfMetrics, StackRange, StackWord, StopReason,
    Symbol, SymbolSlice, Thread, Totals, UnwindSlice, UnwoundFrame, UnwoundStack, UserStack, UserState, Verdict,
    Writer,
};

const SEGMENTS: u64 = 3;
const FRAMES: u64 = 3;
const SAMPLES: u64 = 25;

/// Numbers that are always the same and look like chance (xorshift).
struct Chance(u64);

impl Chance {
    fn any(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.any() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// How often counts are flushed where samples are that.
const FLUSH: u64 = 250_000_000;

/// The bytes of the recording, where it is one of samples.
pub(crate) fn recording_of_every_kind() -> Vec<u8> {
    recording(0)
}

/// The same where samples are counts.
pub(crate) fn counts_of_every_kind() -> Vec<u8> {
    recording(FLUSH)
}

fn recording(counted_every: u64) -> Vec<u8> {
    let header = Header {
        recorder: "1.2.3".into(),
        host: "a \"host\"\n\u{1f}\u{7f}é\u{2028}🦀".into(),
        command_line: vec!["profrec".into(), String::new()],
        period: 1_001_000,
        call_graph: CallGraph::Other(9),
        start_monotonic: 1 << 40,
        gaps: vec![(1 << 41, 1 << 42)],
        scrubbed: true,
        machine: Machine {
            cpu_model: "a \"CPU\"".into(),
            cpus_possible: "0-255".into(),
            cpus_online: "0,2".into(),
            memory: u64::MAX,
            kernel_build: "#1 \u{1b}".into(),
            clock_source: "tsc".into(),
            boot_realtime: 1 << 60,
            suspended: 7,
        },
        counted_every,
        ..Header::default()
    };
    let mut writer = Writer::create(Vec::new(), &header).unwrap();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut time = header.start_monotonic;
    for segment in 0..SEGMENTS {
        if segment > 0 {
            writer.start_segment().unwrap();
        }
        for record in every_record(time) {
            writer.record(&record).unwrap();
        }
        let mut stacks = vec![UserStack::default(); 4];
        for _ in 0..FRAMES {
            for _ in 0..SAMPLES {
                time += chance.below(2_000_000);
                let mut sample = sample(&mut chance, time, &mut stacks);
                // In the first segment each stands for one tick.
                if segment > 0 && chance.one_in(3) {
                    sample.weight = 1 << chance.below(17);
                }
                writer.sample(&sample).unwrap();
                // Other threads with the same stack.
                for _ in 0..chance.below(9).saturating_sub(4) {
                    sample.tid += 1;
                    writer.sample(&sample).unwrap();
                }
            }
            writer.record(&Record::Exit(Exit { time, pid: 1, tid: 2 })).unwrap();
            writer.flush().unwrap();
        }
    }
    let samples = writer.samples_written();
    let lost = vec![(LossCause::RingFull, 3), (LossCause::Other(101), u64::MAX)];
    let stop = StopReason::Other(77);
    let weight = writer.ticks_written();
    let totals = Totals {
        end_monotonic: time,
        stop,
        expected: weight + 3,
        samples,
        lost,
        weight,
        ticks: vec![(0, weight), (384, 3)],
        outcomes: vec![(0, Outcome::Written, weight), (0, Outcome::Other(77), 1)],
        lost_by_cpu: vec![(384, LossCause::RingFull, 3)],
        clock_time: 1 << 33,
        ..Totals::default()
    };
    writer.finish(&totals).unwrap()
}

fn sample(chance: &mut Chance, time: u64, stacks: &mut [UserStack]) -> Sample {
    let thread = chance.below(stacks.len() as u64);
    let kernel_chain = match chance.below(4) {
        0 => Vec::new(),
        1 => (0..chance.below(5)).map(|_| chance.any()).collect(),
        chain => vec![0xffff_ffff_8100_0000 + chain, 0xffff_ffff_8200_0000],
    };
    let user = match chance.below(10) {
        0 => UserState::None,
        1 => UserState::Chain((0..chance.below(6)).map(|_| 0x40_0000 + chance.below(50)).collect()),
        2 => UserState::Unwound(unwound(chance)),
        _ => {
            let stack = &mut stacks[thread as usize];
            change(chance, stack, 0x7ffc_0000_0000 + (thread << 24));
            UserState::Stack(stack.clone())
        }
    };
    // Times of CPUs go back a little now and then, and numbers of CPUs go over 256.
    let time = time - chance.below(3) * 5_000;
    Sample {
        time,
        pid: thread as u32 / 2,
        tid: thread as u32,
        cpu: chance.below(4) as u32 * 128,
        kernel_chain,
        user,
        weight: 1,
    }
}

/// Now and then one with more frames than a chain can have.
fn unwound(chance: &mut Chance) -> UnwoundStack {
    let count = if chance.one_in(5) { 4_100 } else { chance.below(9) };
    let frames =
        (0..count).map(|_| UnwoundFrame { address: pointer(chance, 0x7ffc_0000_0000), guessed: chance.one_in(4) });
    let frames = frames.collect();
    let verdict = if chance.one_in(4) { Verdict::Other(u32::MAX) } else { Verdict::Implausible };
    UnwoundStack { frames, verdict }
}

/// The stack some calls later: its lower words are others, now and then also one in the middle, its top or its ranges.
fn change(chance: &mut Chance, stack: &mut UserStack, base: u64) {
    if stack.top == 0 || chance.one_in(8) {
        stack.top = base + 0x10_0000 + 8 * chance.below(512);
    }
    let kept = chance.below(stack.words.len() as u64 + 1) as usize;
    stack.words.drain(..stack.words.len() - kept);
    if kept > 2 && chance.one_in(2) {
        stack.words.remove(kept / 2);
    }
    if kept > 4 && chance.one_in(2) {
        stack.words[kept / 3].value = chance.any();
    }
    for _ in 0..chance.below(12) {
        let lowest = stack.words.first().map_or(stack.top, |word| word.address);
        // Some words are not where words can be.
        let address = lowest - if chance.one_in(10) { 1 + chance.below(30) } else { 8 + 8 * chance.below(6) };
        stack.words.insert(0, StackWord { address, value: pointer(chance, address) });
    }
    let lowest = stack.words.first().map_or(stack.top, |word| word.address);
    stack.sp = lowest - chance.below(3) * 8 - chance.below(2) * chance.below(8);
    let whole = StackRange { start: stack.sp & !7, end: stack.top };
    stack.ranges = match chance.below(6) {
        0 => Vec::new(),
        1 => vec![StackRange { start: stack.sp + 3, end: stack.sp + 100 }, StackRange { start: 5, end: u64::MAX }],
        2 => vec![StackRange { start: whole.start, end: whole.start + 64 }],
        _ => vec![whole],
    };
    stack.ip = pointer(chance, stack.sp);
    stack.registers = Default::default();
    for number in [0, 6, 31] {
        if chance.one_in(2) {
            stack.registers.set(number, pointer(chance, stack.sp));
        }
    }
}

/// A pointer to code that is seen again, one into the stack, or a number that is neither.
fn pointer(chance: &mut Chance, near: u64) -> u64 {
    match chance.below(8) {
        0..4 => 0x40_0000 + chance.below(40) * 5,
        4..7 => near + 8 * chance.below(40) - chance.below(2) * 3,
        _ => chance.any(),
    }
}

fn every_record(time: u64) -> Vec<Record> {
    let entry = |address| CfiEntry { address, cie: 7, bytes: vec![1, 2, 255] };
    let load = LoadSegment { offset: 1, address: 2, file_size: 3, executable: true };
    let symbol = |name: &str| Symbol { address: u64::MAX, size: 0, name: name.into() };
    let jitted = |name: &str| JitSymbol { time, address: u64::MAX, size: 1, name: name.into() };
    let kernel_symbol = |name: &str| KernelSymbol { address: 1 << 63, size: 5, name: name.into(), module: "m".into() };
    // Names that every recording has, and what compilers make of them, and others.
    let kernel_symbols =
        ["f", "schedule", "vfs_read", "schedule.isra.0", "schedules", ".x", "vfs_write.cold", "schedule.cold"];
    vec![
        Record::Process(Process {
            time,
            pid: 1,
            parent: 0,
            comm: "\t\\/".into(),
            kernel_thread: true,
            cgroup: "/é\n".into(),
        }),
        Record::Thread(Thread { time, pid: 1, tid: 2, comm: "thread".into() }),
        Record::Fork(Fork { time: time + 1, pid: 3, tid: 4, parent: 1, parent_tid: 2 }),
        Record::Exec(Exec { time, pid: 3, comm: String::new() }),
        Record::Exit(Exit { time, pid: u32::MAX, tid: 4 }),
        Record::Mapping(Mapping { time, pid: 1, start: 4096, end: 8192, offset: 1 << 33, module: 9 }),
        Record::Module(Module { id: 9, kind: ModuleKind::File, path: "/é".into(), build_id: vec![0, 127, 255] }),
        Record::Module(Module { id: 10, kind: ModuleKind::Vdso, ..Module::default() }),
        Record::Module(Module { id: 11, kind: ModuleKind::Anonymous, ..Module::default() }),
        Record::Layout(Layout { module: 9, build_id: vec![1], fingerprint: vec![2, 3], loads: vec![load, load] }),
        Record::UnwindSlice(UnwindSlice {
            module: 9,
            section: CfiSection::DebugFrame,
            cies: vec![entry(7)],
            fdes: vec![entry(8), entry(9)],
        }),
        Record::UnwindSlice(UnwindSlice { section: CfiSection::EhFrame, ..UnwindSlice::default() }),
        Record::SymbolSlice(SymbolSlice { module: 9, symbols: vec![symbol("_Z1fv"), symbol("")] }),
        Record::MiniDebugInfo(MiniDebugInfo { module: 9, bytes: vec![0xfd; 9] }),
        Record::FunctionExtents(FunctionExtents { module: 9, ranges: vec![(1, 2), (3, u64::MAX)] }),
        Record::PerfMap(PerfMap { pid: 1, symbols: vec![jitted("é\n"), jitted("")], trouble: "refused".into() }),
        Record::Image(Image { module: 10, bytes: vec![0; 300] }),
        Record::KernelSymbols(KernelSymbols { symbols: kernel_symbols.map(kernel_symbol).to_vec() }),
        Record::Loss(Loss::at(time, LossCause::NotWritten, 1)),
        Record::Loss(Loss { since: time - 5, cpu: Some(0), ..Loss::at(time, LossCause::Other(102), 2) }),
        Record::Pace(Pace {
            time,
            weight: 4,
            whole_stack: 1 << 19,
            stack_size: 1 << 16,
            cost: 12_345,
            limit: 10_000,
            reason: PaceReason::TooCostly,
        }),
        Record::RawStack(RawStack {
            time,
            tid: 2,
            registers: vec![0, u64::MAX],
            memory: vec![(4096, vec![0, 255]), (u64::MAX, Vec::new())],
        }),
        Record::SelfMetrics(SelfMetrics {
            time: time + 3,
            interval: 1_000_000_001,
            cpu: u64::MAX,
            delay_max: 7,
            outcomes: vec![(Outcome::Idle, 4), (Outcome::Other(u32::MAX), 5)],
            ..SelfMetrics::default()
        }),
    ]
}
