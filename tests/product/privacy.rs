//! What a recording must not hold: the environment, the arguments and the memory of the recorded program.
//!
//! `secrets` has planted them all over its stack. They are looked for in all that the file holds when decompressed, and in
//! what the reader makes of it: there a stack's words and call chains are as they were in memory.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use profrec_format::raw::RawRecording;
use profrec_format::{Recording, Sample, UserState};

use crate::programs::{Running, fixture, stderr, succeed};
use crate::recorded::Place;
use crate::rights::needs_root;

const ARGUMENT: &str = "Argv-kX7pLq2ZvB9mTn4RwY6cHs8DfGj";
const ENVIRONMENT: &str = "Envi-uJ3oVe5NyQ1aKx7WiM2bSz4PtLr";
/// What the program puts on its heap.
const HEAP: &str = "Heap-uJ3oVe5NyQ1aKx7WiM2bSz4PtLr";
/// A pointer that the program has put beside them.
const MARKER: [u8; 8] = 0x5052_4543_4f44_u64.to_le_bytes();

/// All bytes of a recording: decompressed, and decoded.
struct Opened {
    frames: Vec<u8>,
    memory: Vec<u8>,
}

impl Opened {
    fn new(path: &Path) -> Self {
        let file = fs::read(path).unwrap();
        let raw = RawRecording::take_apart(&file).unwrap();
        let recording = Recording::open(&file).unwrap();
        let promised: u64 = recording.segments().iter().map(|segment| segment.sample_count()).sum();
        let taken = raw.frames.iter().filter(|frame| frame.kind == 6).map(|frame| u64::from(frame.items));
        assert_eq!(taken.sum::<u64>(), promised, "not all frames were searched");
        let mut frames = raw.head;
        frames.extend(raw.frames.into_iter().flat_map(|frame| frame.content));
        let mut memory = Vec::new();
        for segment in recording.segments() {
            let mut samples = segment.samples();
            while let Some(sample) = samples.next().unwrap() {
                add_memory(sample, &mut memory);
            }
        }
        Self { frames, memory }
    }

    /// The pieces of eight bytes of the secrets that are in it.
    fn leaks(&self) -> Vec<String> {
        let secrets = [ARGUMENT, ENVIRONMENT, HEAP];
        let pieces: HashSet<&[u8]> = secrets.iter().flat_map(|secret| secret.as_bytes().windows(8)).collect();
        let windows = self.frames.windows(8).chain(self.memory.windows(8));
        let found: HashSet<_> = windows.filter(|window| pieces.contains(window)).collect();
        found.into_iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
    }
}

/// Adds all words that a sample has of its thread's memory and registers.
fn add_memory(sample: &Sample, memory: &mut Vec<u8>) {
    let words: Vec<u64> = match &sample.user {
        UserState::Stack(stack) => {
            let registers = stack.registers.iter().map(|(_, value)| value);
            registers.chain(stack.words.iter().map(|word| word.value)).chain([stack.ip, stack.sp]).collect()
        }
        UserState::Chain(chain) => chain.clone(),
        _ => Vec::new(),
    };
    memory.extend(words.into_iter().flat_map(u64::to_le_bytes));
}

fn holds(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}

fn secrets(seconds: &str) -> Command {
    let mut command = Command::new(fixture("secrets"));
    command.args([seconds, ARGUMENT]).env("SECRET", ENVIRONMENT);
    command
}

/// Records with stacks captured in this way and these arguments, and looks for the secrets.
fn assert_private(call_graph: &str, arguments: &[&str], command: Option<&Command>) {
    let place = Place::new();
    let mut recorder = place.record();
    recorder.args(["-q", "-F", "999", "--call-graph", call_graph]).args(arguments);
    if let Some(command) = command {
        recorder.arg("--").arg(command.get_program()).args(command.get_args()).env("SECRET", ENVIRONMENT);
    }
    let output = succeed(&mut recorder);
    let opened = Opened::new(&place.path());
    // The search finds what is there: a name among the records, and a pointer that lies beside the secrets.
    assert!(holds(&opened.frames, b"secrets"), "{arguments:?}: the program was not recorded: {}", stderr(&output));
    let copied = call_graph == "dwarf";
    assert_eq!(holds(&opened.memory, &MARKER), copied, "{call_graph} {arguments:?}: the pointer beside the secrets");
    assert_eq!(opened.leaks(), [""; 0], "{call_graph} {arguments:?}");
}

/// However stacks are captured and whatever is embedded, nothing of the secrets is in a recording of the running program.
#[test]
fn a_running_program_keeps_its_secrets() {
    let _guard = needs_root!();
    let target = Running::start(&mut secrets("100"));
    for call_graph in ["dwarf", "fp", "none"] {
        for embed in ["unwind", "symbols", "none"] {
            assert_private(call_graph, &["--embed", embed, "-d", "400ms", "-p", &target.pid()], None);
        }
    }
}

/// Nor are they in a recording of the whole machine.
#[test]
fn a_machine_keeps_its_secrets() {
    let _guard = needs_root!();
    let _target = Running::start(&mut secrets("100"));
    for call_graph in ["dwarf", "fp"] {
        assert_private(call_graph, &["-d", "700ms", "-a"], None);
    }
}

/// Nor in that of a command, although its arguments stand on the recorder's own command line.
#[test]
fn a_command_keeps_its_secrets() {
    let _guard = needs_root!();
    for (call_graph, embed) in [("dwarf", "symbols"), ("fp", "unwind"), ("none", "none")] {
        assert_private(call_graph, &["--embed", embed], Some(&secrets("0.4")));
    }
}

/// The search itself finds a secret in the compressed parts of a file, in a stack and in a chain.
#[test]
fn the_search_finds_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it.prof");
    let word = u64::from_le_bytes(*HEAP.as_bytes().first_chunk().unwrap());
    let chain = UserState::Chain(vec![1, word]);
    let thread = profrec_format::Thread { comm: ENVIRONMENT.to_owned(), ..Default::default() };
    for (record, user) in [(thread.clone(), UserState::None), (profrec_format::Thread::default(), chain)] {
        let mut writer = profrec_format::Writer::create(Vec::new(), &Default::default()).unwrap();
        writer.record(&profrec_format::Record::Thread(record)).unwrap();
        writer.sample(&Sample { user, ..Sample::default() }).unwrap();
        fs::write(&path, writer.finish(&Default::default()).unwrap()).unwrap();
        assert!(!Opened::new(&path).leaks().is_empty());
    }
}
