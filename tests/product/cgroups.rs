//! Control groups of processes: whoever is in one has its path, however short, and whoever moves has both.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folded::Folded;
use crate::programs::fixture;
use crate::recorded::{Facts, record};
use crate::rights::{needs_root, skip};

/// A cgroup of our own in the hierarchy of version 2, gone with it.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Option<Self> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists())?;
        let path = root.join(format!("profrec-test-{name}-{}", std::process::id()));
        fs::create_dir(&path).ok().map(|()| Self(path))
    }

    fn name(&self) -> String {
        format!("/{}", self.0.file_name().unwrap().to_string_lossy())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _still_used = fs::remove_dir(&self.0);
    }
}

/// Every process has its cgroup, however short it was, and can be chosen by it; one that was moved has its new one.
#[test]
fn processes_have_their_cgroups() {
    let _guard = needs_root!();
    let Some(cgroup) = Cgroup::new("processes") else {
        skip("needs a cgroup file system of version 2 to write to");
        return;
    };
    let burn = "j=0; while [ $j -lt 3000 ]; do j=$((j+1)); done";
    let script = format!("echo $$ > $0/cgroup.procs; for i in 1 2 3 4 5 6; do ({burn}); done; exec $1 0.3");
    let words = [Path::new("sh"), Path::new("-c"), Path::new(&script), &cgroup.0, &fixture("recursion")];
    let recorded = record(&[], &words);
    let facts = recorded.facts();
    let processes = facts.at("/processes").as_array().unwrap();
    assert!(
        processes.len() > 3 && processes.iter().all(|process| process["cgroup"] == *cgroup.name()),
        "{processes:?}"
    );
    let samples = |arguments: &[&str]| Folded::parse(&recorded.report(arguments)).samples();
    // Before the shell moves itself it is elsewhere.
    let (all, inside) = (samples(&["--folded"]), samples(&["--folded", "--cgroup", &cgroup.name()]));
    assert!(inside as f64 > 0.7 * all as f64 && inside > 0, "{inside} of {all}");
    assert_eq!(samples(&["--folded", "--cgroup", "/x"]), 0);
    assert!(recorded.report(&["--info"]).contains(&cgroup.name()));
}

/// A process that moves while it is counted has the ticks of before where it was, and those of after where it is.
#[test]
fn a_counted_process_that_moves() {
    let _guard = needs_root!();
    move_between_groups("moves-counted", "recursion", &["--count", "--flush", "500ms", "-F", "499"]);
}

/// So has one that is sampled while others are counted.
#[test]
fn a_sampled_process_among_counts_that_moves() {
    let _guard = needs_root!();
    let how = ["--count=hybrid", "--sample-every", "2", "--flush", "200ms", "-F", "3999"];
    if let Some(after) = move_between_groups("moves-sampled", "shares", &how) {
        assert!(after.share("complete") > 0.8, "it was not sampled: {}", after.at("/stacks"));
    }
}

/// Records a program in the middle of which its process moves to another group. Gives the facts of the time after that.
fn move_between_groups(name: &str, program: &str, how: &[&str]) -> Option<Facts> {
    let groups = (Cgroup::new(&format!("{name}-first")), Cgroup::new(&format!("{name}-second")));
    let (Some(first), Some(second)) = groups else {
        skip("needs a cgroup file system of version 2 to write to");
        return None;
    };
    let script = "echo $$ > $0/cgroup.procs; (sleep 2; echo $$ > $1/cgroup.procs) & exec $2 4";
    let words = [Path::new("sh"), Path::new("-c"), Path::new(script), &first.0, &second.0, &fixture(program)];
    let recorded = record(how, &words);
    recorded.facts().assert_accounts_close();
    let samples =
        |cgroup: &Cgroup| Folded::parse(&recorded.report(&["--folded", "--cgroup", &cgroup.name()])).samples();
    let (before, after) = (samples(&first) as f64, samples(&second) as f64);
    assert!(before > 300.0 && (0.35..0.65).contains(&(before / (before + after))), "{before} {after}");
    let by_cgroup = Folded::parse(&recorded.report(&["--folded", "--by", "cgroup"]));
    let shown = [&first, &second].map(|cgroup| by_cgroup.of_comm(&cgroup.name()) as f64);
    assert_eq!(shown, [before, after]);
    Some(Facts::parse(&recorded.report(&["--json", "--cgroup", &second.name()])))
}

/// The same of a process that becomes another program before it moves: ticks of both programs are where they were.
#[test]
fn a_counted_process_that_moves_after_an_exec() {
    let _guard = needs_root!();
    let (Some(first), Some(second)) = (Cgroup::new("exec-first"), Cgroup::new("exec-second")) else {
        skip("needs a cgroup file system of version 2 to write to");
        return;
    };
    let script = "echo $$ > $0/cgroup.procs; $2 1.5; (sleep 1.5; echo $$ > $1/cgroup.procs) & exec $3 3";
    let programs = [fixture("alloca"), fixture("recursion")];
    let words = [Path::new("sh"), Path::new("-c"), Path::new(script), &first.0, &second.0, &programs[0], &programs[1]];
    let recorded = record(&["--count", "--flush", "20s", "-F", "499"], &words);
    let samples = |cgroup: &Cgroup, comm| {
        let only = ["--folded", "--cgroup", &cgroup.name()];
        Folded::parse(&recorded.report(&only)).of_comm(comm) as f64
    };
    let (before, after) = (samples(&first, "recursion"), samples(&second, "recursion"));
    let of_first = [samples(&first, "alloca"), samples(&second, "alloca")];
    assert!(of_first[0] > 200.0 && of_first[1] == 0.0, "{of_first:?}");
    assert!((0.3..0.7).contains(&(before / (before + after))), "{before} {after}");
}

/// A process goes on when its first thread has ended, and has its code when it moves then.
#[test]
fn a_counted_process_without_its_first_thread_moves() {
    let _guard = needs_root!();
    let Some(cgroup) = Cgroup::new("leaderless") else {
        skip("needs a cgroup file system of version 2 to write to");
        return;
    };
    let procs = cgroup.0.join("cgroup.procs");
    // The group is known by another process.
    let script = "$1 6 & echo $! > $0; sleep 1.5; exec $2 1 $0";
    let words =
        [Path::new("sh"), Path::new("-c"), Path::new(script), &procs, &fixture("recursion"), &fixture("leaderless")];
    let recorded = record(&["--count", "--flush", "20s", "-F", "499"], &words);
    let folded = recorded.folded();
    let (stayed, went_on) = (folded.share("...;stay"), folded.share("...;go_on"));
    assert!(stayed > 0.05 && went_on > 0.1, "{stayed} {went_on}\n{folded}");
}

/// A group that comes and goes between two flushes has the ticks of those who were in it.
#[test]
fn a_group_that_is_gone_before_the_flush() {
    let _guard = needs_root!();
    let Some(outer) = Cgroup::new("outer") else {
        skip("needs a cgroup file system of version 2 to write to");
        return;
    };
    let is_told = fs::read_to_string("/proc/cgroups").unwrap().lines().any(|line| line.starts_with("perf_event\t0\t"));
    if !is_told {
        skip("needs a kernel whose perf events tell of groups of version 2");
        return;
    }
    let script =
        "mkdir $0/inner; echo $$ > $0/inner/cgroup.procs; $1 2; echo $$ > $0/cgroup.procs; rmdir $0/inner; $2 1";
    let programs = [fixture("recursion"), fixture("alloca")];
    let words = [Path::new("sh"), Path::new("-c"), Path::new(script), &outer.0, &programs[0], &programs[1]];
    let recorded = record(&["--count", "--flush", "1h", "-F", "999"], &words);
    assert!(!outer.0.join("inner").exists());
    let of = |name: &str, comm| {
        Folded::parse(&recorded.report(&["--folded", "--cgroup", &format!("{}{name}", outer.name())])).of_comm(comm)
    };
    let inner = [of("/inner", "recursion"), of("/inner", "alloca")];
    assert!(inner[0] > 50 && inner[1] == 0, "{inner:?}\n{}", recorded.report(&["--info"]));
    assert!(of("", "alloca") > 20, "{}", recorded.report(&["--info"]));
}
