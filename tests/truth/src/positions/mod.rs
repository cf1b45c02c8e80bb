//! Stacks of a stopped process, at many instructions of a program: what gdb sees there against what ours makes of the same
//! registers and stack.
//!
//! ```text
//! gdb (positions.py) ─► state: registers, memory, mappings, gdb's frames
//!                         └► what a sample would hold ─► profrec_report::unwind, symbols ─► compared with gdb's frames
//! ```

mod state;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSegment, SegmentFlags, elf};
use profrec_format::{Arch, Layout, LoadSegment, Module, ModuleKind};
use profrec_report::evidence::{Evidence, ModuleEvidence};
use profrec_report::local_files::{LocalFiles, Sources};
use profrec_report::modules::Modules;
use profrec_report::symbols::{Names, Wanted};
use profrec_report::unwind::{ProcessView, Unwinder, WalkedFrame};

use crate::stacks::classes::{Relation, relate};
use state::{GdbFrame, State};

/// What came of one program.
#[derive(Debug, Default)]
pub struct Tally {
    /// Stops.
    pub positions: usize,
    /// Stops at which the frames are the same, their names too.
    pub equal: usize,
    /// The others: both stacks of each, in words.
    pub differences: Vec<String>,
}

/// Stops a program at so many of its instructions, by gdb, and compares.
pub fn compare(program: &Path, count: usize) -> Result<Tally> {
    let folder = tempfile::tempdir().context("a folder for what gdb writes")?;
    let (script, states) = (folder.path().join("positions.py"), folder.path().join("states"));
    std::fs::write(&script, include_str!("positions.py")).context("writing positions.py")?;
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx", "-x"]).arg(&script).arg("--args").arg(program).arg("0.05");
    gdb.env("PROFREC_POSITIONS", count.to_string()).env("PROFREC_OUTPUT", &states).env_remove("DEBUGINFOD_URLS");
    let output = gdb.output().context("cannot run gdb")?;
    let text = std::fs::read_to_string(&states).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(!text.is_empty(), "gdb stopped {} nowhere:\n{errors}", program.display());
    let mut tally = Tally::default();
    for line in text.lines() {
        let state: State = serde_json::from_str(line).context("what gdb wrote is not understood")?;
        tally.positions += 1;
        match difference(&state)? {
            None => tally.equal += 1,
            Some(difference) => tally.differences.push(difference),
        }
    }
    Ok(tally)
}

/// How our stack differs from gdb's.
fn difference(state: &State) -> Result<Option<String>> {
    let mut evidence = Evidence::default();
    let mut numbers = HashMap::new();
    let mut paths = Vec::new();
    let number = |path| {
        let next = numbers.len() as u32;
        *numbers.entry(path).or_insert_with(|| {
            paths.push(path);
            next
        })
    };
    let space = state.code(number);
    for path in paths {
        evidence.modules.push(module(Path::new(path))?);
    }
    let files = LocalFiles::find(&evidence, &Sources::default());
    let modules = Modules::new(&evidence, &files);
    let stack = state.stack(&space)?;
    let mut frames = Vec::new();
    let process = ProcessView { pid: 1, thread: 1, space: &space, time: 1 };
    Unwinder::new(&modules, Arch::X86_64).walk(&stack, process, &mut frames);
    let (relation, _) = relate(&frames, &places(&state.frames));
    let (ours, theirs) = (our_names(&frames, &evidence, &files), own_names(&state.frames));
    let mut rest = ours.iter();
    let has_same_names = theirs.iter().all(|name| rest.any(|our| our == name));
    if relation == Relation::Equal && has_same_names {
        return Ok(None);
    }
    let addresses: Vec<_> = frames.iter().map(|frame| format!("{:#x}", frame.address)).collect();
    let places: Vec<_> = places(&state.frames).iter().map(|place| format!("{place:#x}")).collect();
    Ok(Some(format!("{relation}\n  here  {ours:?} {addresses:?}\n  there {theirs:?} {places:?}")))
}

/// gdb's frames that are on the stack, as places inside their calls. What was inlined has no frame there, and what was left by a
/// jump has none any more. Behind the end of a coroutine, gdb shows one at address 0.
fn places(frames: &[GdbFrame]) -> Vec<u64> {
    let is_real = |frame: &&GdbFrame| matches!(frame.kind.as_str(), "normal" | "signal") && frame.pc > 0;
    let real: Vec<_> = frames.iter().filter(is_real).collect();
    let interrupted = |index: usize| index == 0 || real.get(index - 1).is_some_and(|inner| inner.kind == "signal");
    let place = |(index, frame): (usize, &&GdbFrame)| frame.pc.wrapping_sub(u64::from(!interrupted(index)));
    real.iter().enumerate().map(place).collect()
}

/// The functions of the program's own source that gdb names, inlined ones too. It has a spelling of its own for functions of a
/// Rust `impl`.
fn own_names(frames: &[GdbFrame]) -> Vec<String> {
    let is_told_alike = |frame: &&GdbFrame| frame.kind != "tail call" && !frame.name.contains("{impl#");
    let own = frames.iter().filter(|frame| frame.own).filter(is_told_alike);
    own.map(|frame| plain(&frame.name)).collect()
}

/// Our names of all frames, inlined ones too.
fn our_names(frames: &[WalkedFrame], evidence: &Evidence, files: &LocalFiles) -> Vec<String> {
    let locations: Vec<_> = frames.iter().map(|frame| frame.location).collect();
    let names = Names::find(&locations, evidence, files, &Wanted::all());
    let functions = names.locations.iter().flatten().filter_map(|frame| names.functions.get(frame.function as usize));
    functions.map(|function| plain(&function.name)).collect()
}

/// A name without parameters, which gdb leaves away.
fn plain(name: &str) -> String {
    name.split(['(', '[']).next().unwrap_or_default().trim_end().to_owned()
}

/// What a recording would say of a file.
fn module(path: &Path) -> Result<ModuleEvidence> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let file = object::File::parse(&bytes[..]).with_context(|| format!("reading {}", path.display()))?;
    let build_id = file.build_id()?.unwrap_or_default().to_vec();
    let is_executable = |flags| matches!(flags, SegmentFlags::Elf { p_flags, .. } if (p_flags & elf::PF_X).0 != 0);
    let loads = file.segments().map(|segment| {
        let (offset, file_size) = segment.file_range();
        LoadSegment { offset, address: segment.address(), file_size, executable: is_executable(segment.flags()) }
    });
    let layout = Layout { build_id: build_id.clone(), loads: loads.collect(), ..Layout::default() };
    let module = Module { id: 0, kind: ModuleKind::File, path: path.to_string_lossy().into_owned(), build_id };
    Ok(ModuleEvidence { module, layout: Some(layout), ..ModuleEvidence::default() })
}

/// A table of all programs (Markdown), and what differs.
pub fn table(compared: &[(String, Tally)]) -> String {
    let rows = compared.iter().map(|(name, tally)| {
        let Tally { positions, equal, .. } = tally;
        format!("| {name} | {positions} | {equal} | {} |\n", positions - equal)
    });
    let differences = compared
        .iter()
        .flat_map(|(name, tally)| tally.differences.iter().map(move |difference| format!("\n{name}: {difference}\n")));
    let head = "| program | positions | equal | different |\n|---|---|---|---|\n";
    [head.to_owned()].into_iter().chain(rows).chain(differences).collect()
}
