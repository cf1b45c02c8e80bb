//! Each fixture program, recorded live: its stacks are known by construction, and so must be found.

use std::path::Path;

use crate::folded::Folded;
use crate::programs::fixture;
use crate::recorded::{Facts, Recorded, record};
use crate::rights::needs_root;

/// Records a fixture program for a second.
fn live(name: &str) -> Recorded {
    record(&["--embed", "symbols"], &[&fixture(name), Path::new("1")])
}

fn assert_share(folded: &Folded, pattern: &str, least: f64) {
    let share = folded.share(pattern);
    assert!(share >= least, "{pattern}: {share:.3}, expected at least {least}\n{folded}");
}

fn assert_complete(facts: &Facts) {
    let share = facts.share("complete");
    assert!(share >= 0.98, "complete: {share:.3}; {}", facts.at("/stacks"));
}

/// Nearly all samples of a fixture have the one stack that its source states.
fn has_one_stack(name: &str, pattern: &str) {
    let recorded = live(name);
    let folded = recorded.folded();
    assert!(folded.samples() > 100, "only {} samples, even for a busy machine", folded.samples());
    assert_share(&folded, pattern, 0.95);
    assert_complete(&recorded.facts());
}

/// The plain case without frame pointers.
#[test]
fn no_frame_pointers() {
    let _guard = needs_root!();
    has_one_stack("no_frame_pointers", "no_frame_pointe;...;main;outer;middle;spin");
}

/// Every level of a recursion is there.
#[test]
fn recursion() {
    let _guard = needs_root!();
    let levels = ["descend"; 20].join(";");
    has_one_stack("recursion", &format!("recursion;...;main;{levels};spin"));
}

/// Inlined functions are told from the debug information.
#[test]
fn inlining() {
    let _guard = needs_root!();
    has_one_stack("inlining", "inlining;...;main;outer;middle;inner");
}

/// A function that was left by a jump is not there.
#[test]
fn tail_call() {
    let _guard = needs_root!();
    has_one_stack("tail_call", "tail_call;...;main;target;spin");
}

/// The interrupted code stands below the signal handler.
#[test]
fn signal_handler() {
    let _guard = needs_root!();
    has_one_stack("signal_handler", "signal_handler;...;main;interrupted;...;on_signal;spin");
}

/// So it does when the handler runs on another stack.
#[test]
fn signal_stack() {
    let _guard = needs_root!();
    has_one_stack("signal_stack", "signal_stack;...;main;interrupted;...;on_signal;spin");
}

/// The stacks of coroutines, wherever they are, in whatever thread, lead to where they were made.
#[test]
fn coroutines() {
    let _guard = needs_root!();
    let recorded = live("coroutines");
    let folded = recorded.folded();
    for comm in ["coroutines", "second"] {
        assert_share(&folded, &format!("{comm};...;body;outer;spin"), 0.2);
    }
    assert_complete(&recorded.facts());
}

/// A frame of variable size is passed by its frame pointer.
#[test]
fn alloca() {
    let _guard = needs_root!();
    has_one_stack("alloca", "alloca;...;main;outer;with_alloca;spin");
}

/// Calls into a shared library are complete, also from the PLT entry itself.
#[test]
fn plt() {
    let _guard = needs_root!();
    let recorded = live("plt");
    let folded = recorded.folded();
    let calls = folded.share("plt;...;main;call_often;...");
    let work = folded.share("plt;...;main;outer;library_entry;library_spin");
    assert!(calls > 0.02 && work > 0.5 && calls + work > 0.95, "{calls:.3} and {work:.3}\n{folded}");
    assert_complete(&recorded.facts());
}

/// A library that is loaded late is known from then on.
#[test]
fn dlopen() {
    let _guard = needs_root!();
    let recorded = live("dlopen");
    let folded = recorded.folded();
    assert_share(&folded, "dlopen;...;main;before;spin", 0.1);
    assert_share(&folded, "dlopen;...;main;after;plugin_entry;plugin_spin", 0.7);
    assert_complete(&recorded.facts());
}

/// A process that becomes another program by exec has each program's stacks, under its own name.
#[test]
fn fork_exec() {
    let _guard = needs_root!();
    let recorded = live("fork_exec");
    let folded = recorded.folded();
    assert_share(&folded, "fork_exec;...;main;before_exec;spin", 0.42);
    assert_share(&folded, "after_exec;...;main;after_exec;spin", 0.42);
    assert_complete(&recorded.facts());
}

/// Threads have their names, and the share of the samples that their work is.
#[test]
fn threads() {
    let _guard = needs_root!();
    let recorded = live("threads");
    let folded = recorded.folded();
    let three = folded.share("three;...;three_parts;spin_three");
    let one = folded.share("one;...;one_part;spin_one");
    assert!(three + one > 0.95, "{three:.3} and {one:.3}\n{folded}");
    assert!((0.68..0.82).contains(&(three / (three + one))), "{three:.3} to {one:.3}, expected 3 to 1\n{folded}");
    assert_complete(&recorded.facts());
}

/// A frame larger than what is copied of the stack does not end it.
#[test]
fn giant_frame() {
    let _guard = needs_root!();
    has_one_stack("giant_frame", "giant_frame;...;main;outer;giant;inner;spin");
}

/// A stack that is deeper than the cap is shown as far as it was copied, and called truncated.
#[test]
fn deep_recursion() {
    let _guard = needs_root!();
    let recorded = live("deep_recursion");
    assert_share(&recorded.folded(), "deep_recursion;...;descend;descend;descend;spin", 0.95);
    let facts = recorded.facts();
    assert!(facts.share("truncated") > 0.95, "{}", facts.at("/stacks"));
}

/// Of a stack that changed in all its depth, nothing is taken for what it was before.
#[test]
fn left_right() {
    let _guard = needs_root!();
    assert_left_or_right(&live("left_right"));
}

/// All stacks of `left_right` are complete, and either of its functions is all of a stack.
pub(crate) fn assert_left_or_right(recorded: &Recorded) {
    let folded = recorded.folded();
    for side in ["left", "right"] {
        let levels = vec![side; 400].join(";");
        assert_share(&folded, &format!("left_right;...;main;descend;{levels};spin"), 0.35);
    }
    let has = |frames: &[String], name: &str| frames.iter().any(|frame| frame == name);
    let mixed = folded.stacks().find(|frames| has(frames, "left") && has(frames, "right"));
    assert!(mixed.is_none(), "{mixed:?}");
    assert_complete(&recorded.facts());
}

/// A program without symbols has complete stacks, named by module and offset, and the reason is told.
#[test]
fn stripped() {
    let _guard = needs_root!();
    has_one_stack("stripped", "stripped;...;stripped+0x*;stripped+0x*;stripped+0x*;stripped+0x*");
    let facts = live("stripped").facts();
    let modules = facts.at("/modules").as_array().unwrap();
    let module = modules.iter().find(|module| module["name"].as_str().unwrap().ends_with("stripped")).unwrap();
    assert!(!module["why"].as_str().unwrap_or_default().is_empty(), "no reason is given: {module}");
}

/// Without call frame information, frame pointers lead on, and the frames are said to be guessed.
#[test]
fn no_cfi() {
    let _guard = needs_root!();
    let recorded = live("no_cfi");
    assert_share(&recorded.folded(), "no_cfi;...;main;outer;middle;spin", 0.95);
    let facts = recorded.facts();
    assert!(facts.share("guessed") > 0.9, "{}", facts.at("/stacks"));
}

/// Static programs have neither ld.so nor libc.so.
#[test]
fn static_program() {
    let _guard = needs_root!();
    has_one_stack("static_program", "static_program;...;main;outer;middle;spin");
    has_one_stack("static_pie", "static_pie;...;main;outer;middle;spin");
}

/// Rust names are demangled in Rust's way.
#[test]
fn rust_frames() {
    let _guard = needs_root!();
    let path =
        "rust_frames::main;rust_frames::outer;<rust_frames::Engine as rust_frames::Turn>::turn;rust_frames::spin";
    has_one_stack("rust_frames", &format!("rust_frames;...;{path};..."));
}

/// C++ names are demangled, with their templates and arguments.
#[test]
fn cpp_names() {
    let _guard = needs_root!();
    has_one_stack("cpp_names", "cpp_names;...;main;shop::Till<int>::close*;shop::Till<int>::close*;shop::count*");
}

/// Samples inside a system call have the kernel's frames, and below them the program's.
#[test]
fn kernel_time() {
    let _guard = needs_root!();
    let recorded = live("kernel_time");
    let folded = recorded.folded();
    assert_share(&folded, "kernel_time;...;main;read_zeros;...", 0.95);
    assert!(folded.in_kernel() as f64 > 0.8 * folded.samples() as f64, "{folded}");
    assert_complete(&recorded.facts());
}

/// Anonymous machine code has no name, but its callers are there.
#[test]
fn jit() {
    let _guard = needs_root!();
    let folded = live("jit").folded();
    assert_share(&folded, "jit;...;main;...;run_code;*", 0.95);
}

/// A return address one past a function's end belongs to that function.
#[test]
fn noreturn() {
    let _guard = needs_root!();
    has_one_stack("noreturn", "noreturn;...;main;last_call;never_returns;spin");
}

/// The vDSO's code is in no file; its image in the recording leads on.
#[test]
fn vdso() {
    let _guard = needs_root!();
    let recorded = live("vdso");
    assert_share(&recorded.folded(), "vdso;...;main;ask_the_clock;...", 0.95);
    assert_complete(&recorded.facts());
}
