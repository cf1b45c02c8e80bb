//! Programs of other toolchains than the C compiler's own: their threads, their stacks, and what is known of their code.

use std::path::Path;

use crate::folded::Folded;
use crate::programs::{fixture, fixture_of};
use crate::recorded::{Recorded, record};
use crate::rights::{needs_root, skip};

fn live(program: &Path) -> (Recorded, Folded) {
    let recorded = record(&["--embed", "symbols"], &[program, Path::new("1")]);
    let folded = recorded.folded();
    (recorded, folded)
}

/// A Rust program that goes on on another stack, as `stacker` has it do, has complete stacks over both, in each of its threads.
#[test]
fn rust_on_stacks_of_its_own() {
    let _guard = needs_root!();
    let (recorded, folded) = live(&fixture("stack_switch"));
    let path = "stack_switch::outer;stack_switch::grow;call_on_stack;stack_switch::grown;stack_switch::spin";
    let first = folded.share(&format!("stack_switch;...;main;...;stack_switch::main;{path};..."));
    let second = folded.share(&format!("second;clone*;start_thread;...;{path};..."));
    assert!(first > 0.2 && second > 0.2 && first + second > 0.95, "{first:.3} and {second:.3}\n{folded}");
    assert!(recorded.facts().share("complete") > 0.98, "{}", recorded.facts().at("/stacks"));
}

/// Goroutines run on small stacks of their own, which move as they grow: each is complete down to where it was made.
#[test]
fn goroutines() {
    let _guard = needs_root!();
    let Some(program) = fixture_of("go", "goroutines") else {
        skip("needs go");
        return;
    };
    let (recorded, folded) = live(&program);
    let levels = ["main.middle"; 41].join(";");
    let of = |start: &str| {
        folded.share(&format!("goroutines;runtime.goexit*;{start};main.work;main.outer;{levels};main.spin"))
    };
    let (first, others) = (of("runtime.main;main.main"), of("main.main.func1"));
    assert!(first > 0.05 && others > 0.3 && first + others > 0.9, "{first:.3} and {others:.3}\n{folded}");
    // The runtime's own threads have a few more.
    assert!(recorded.facts().share("complete") > 0.95, "{}", recorded.facts().at("/stacks"));
}

/// A static program with musl: what it has compiled itself is there, up to the first function of libc, which has no call frame information; no
/// such stack is called complete.
#[test]
fn musl_without_call_frame_information() {
    let _guard = needs_root!();
    let Some(program) = fixture_of("musl-gcc", "musl_threads") else {
        skip("needs musl-gcc");
        return;
    };
    let (recorded, folded) = live(&program);
    let of = |start: &str| folded.share(&format!("musl_threads;...;{start};outer;middle;spin"));
    let (first, second) = (of("main"), of("second"));
    assert!(first > 0.2 && second > 0.2 && first + second > 0.95, "{first:.3} and {second:.3}\n{folded}");
    let facts = recorded.facts();
    assert!(facts.share("no_cfi") > 0.95 && facts.share("complete") < 0.05, "{}", facts.at("/stacks"));
    assert!(recorded.report(&["--info"]).contains("without unwind information"));
}
