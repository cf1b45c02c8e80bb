//! CPUs that are taken offline and come back while they are recorded.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::folded::Folded;
use crate::programs::{Running, fixture, stderr, wait_for};
use crate::recorded::{Facts, Place};
use crate::rights::{needs_root, skip};

const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";

/// CPU 1 while it is offline; back with the end of the test, however it ends.
struct Offline;

impl Offline {
    /// `None` where it cannot be taken offline.
    fn new() -> Option<Self> {
        let is_online = fs::read_to_string(SWITCH).is_ok_and(|state| state.trim() == "1");
        (is_online && fs::write(SWITCH, "0").is_ok()).then_some(Self)
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        fs::write(SWITCH, "1").unwrap();
    }
}

/// Seconds of CPU time that a process has used.
fn cpu_seconds(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let mut fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11);
    let mut ticks = || fields.next().unwrap().parse::<f64>().unwrap();
    (ticks() + ticks()) / rustix::param::clock_ticks_per_second() as f64
}

/// A recorder of the whole machine that has these arguments of setpriv, and these of its own.
fn recorder(place: &Place, rights: &[&str], how: &[&str]) -> Running {
    let record = place.record();
    let mut command = Command::new("setpriv");
    command.args(rights).arg(record.get_program()).args(record.get_args());
    Running::start(command.args(["-a", "-F", "199", "--embed", "none"]).args(how))
}

/// Ticks of CPU 1 that were missed because it was offline.
fn missed_offline(facts: &Facts) -> f64 {
    facts.at("/recording/all_ticks/missed/offline").as_f64().unwrap_or(0.0)
}

/// Recorders go on when a CPU goes offline and comes back, and the ticks of that time are accounted for, as of no other cause. One that
/// may still open events has samples of the CPU again; one that has given up that right says that it has not. Neither keeps a CPU busy
/// with events that are dead.
#[test]
fn a_cpu_that_goes_and_comes_back() {
    let _guard = needs_root!();
    // Something runs on the CPU from the start: on some machines, one that sleeps and was offline before has no ticks.
    let spin = || Running::start(Command::new("taskset").args(["-c", "1"]).arg(fixture("recursion")).arg("60"));
    let _before = spin();
    let places = [Place::new(), Place::new(), Place::new()];
    let two_rights = ["--bounding-set", "-all,+bpf,+perfmon", "--inh-caps", "-all"];
    let recorders = [
        recorder(&places[0], &[], &[]),
        recorder(&places[1], &two_rights, &[]),
        recorder(&places[2], &two_rights, &["--count", "--flush", "300ms"]),
    ];
    places.iter().for_each(|place| wait_for(&place.path()));
    std::thread::sleep(Duration::from_millis(600));
    let Some(offline) = Offline::new() else {
        skip("needs a CPU that can be taken offline");
        return;
    };
    // Longer than the recorders' pause between two looks at the CPUs.
    std::thread::sleep(Duration::from_millis(1_200));
    let used = recorders.each_ref().map(|recorder| cpu_seconds(&recorder.pid()));
    drop(offline);
    std::thread::sleep(Duration::from_millis(800));
    // What ran there may run anywhere since.
    let _again = spin();
    std::thread::sleep(Duration::from_millis(1_200));
    for (recorder, before) in recorders.iter().zip(used) {
        let used = cpu_seconds(&recorder.pid()) - before;
        assert!(used < 0.5, "{used} s of CPU time in 2 s");
        recorder.signal(rustix::process::Signal::INT);
    }
    for (index, (recorder, place)) in recorders.into_iter().zip(places).enumerate() {
        let output = recorder.finish_within(Duration::from_secs(30));
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stderr(&output);
        let says = said.contains("CPU 1 came online and is not recorded: the rights that this takes were given up");
        let recorded = place.recorded(output);
        let facts = recorded.facts();
        facts.assert_accounts_close();
        let last = format!("{:.1}..", facts.number("/recording/duration_seconds") - 0.8);
        let folded = Folded::parse(&recorded.report(&["--folded", "--cpu", "1", "--time", &last]));
        // Something spins there all the time.
        assert_eq!(folded.samples() > 20, !says, "{said}\n{folded}");
        assert!(index == 0 || is_new_kernel() != says, "it has kept the right: {said}");
        let missed = missed_offline(&facts);
        // 199 a second; from when it went to when it came, or to the end.
        let expected = if says { 400.0..1_200.0 } else { 150.0..700.0 };
        assert!(expected.contains(&missed), "{missed} missed: {}", facts.at("/recording/all_ticks"));
    }
}

/// Whether CAP_PERFMON is kept to read what is mapped, as from Linux 6.15 on.
fn is_new_kernel() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}
