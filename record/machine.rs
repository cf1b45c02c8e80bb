//! What the recorded machine is: what nobody can ask it for later.

use std::fs::{self, File};
use std::io::Read;

use profrec_format::Machine;
use rustix::time::{ClockId, clock_gettime};

/// More letters of any of these files are not told.
const LONGEST: usize = 256;

/// The facts as far as the machine tells them.
pub(crate) fn facts() -> Machine {
    let [real, boot, running] = [ClockId::Realtime, ClockId::Boottime, ClockId::Monotonic].map(nanoseconds);
    let cpus = |which: &str| line(&format!("/sys/devices/system/cpu/{which}"));
    Machine {
        cpu_model: cpu_model(&first_cpu()),
        cpus_possible: cpus("possible"),
        cpus_online: cpus("online"),
        memory: memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        kernel_build: short(&rustix::system::uname().version().to_string_lossy()),
        clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        boot_realtime: real.saturating_sub(boot),
        suspended: boot.saturating_sub(running) / SUSPENDED_STEP * SUSPENDED_STEP,
    }
}

/// The clocks are read one after the other: less than this is no suspension.
const SUSPENDED_STEP: u64 = 1_000_000_000;

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What the kernel says of the first CPU: telling it of all takes long on large machines.
fn first_cpu() -> String {
    let mut text = [0; 1024];
    let length = File::open("/proc/cpuinfo").and_then(|mut file| file.read(&mut text)).unwrap_or_default();
    String::from_utf8_lossy(&text[..length]).into_owned()
}

fn line(path: &str) -> String {
    short(&fs::read_to_string(path).unwrap_or_default())
}

fn short(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().chars().take(LONGEST).collect()
}

/// The value of a line such as `model name      : AMD EPYC`.
fn cpu_model(cpuinfo: &str) -> String {
    let value = |line: &str| line.strip_prefix("model name")?.split_once(':').map(|(_, value)| short(value));
    cpuinfo.lines().find_map(value).unwrap_or_default()
}

/// Bytes, of a line such as `MemTotal:       24689764 kB`.
fn memory(meminfo: &str) -> u64 {
    let value = |line: &str| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok();
    meminfo.lines().find_map(value).unwrap_or_default().saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's lines give their values; other text gives nothing.
    #[test]
    fn lines_give_their_values() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 3.00GHz\n"), "Some CPU @ 3.00GHz");
        assert_eq!(memory("MemTotal:       24689764 kB\nMemFree: 1 kB\n"), 24_689_764 << 10);
        assert_eq!((cpu_model("Processor: x"), memory("MemTotal: many kB")), (String::new(), 0));
        assert_eq!(short(&"é".repeat(300)), "é".repeat(256));
    }

    /// This very machine tells its CPUs, its memory, and a start that lies behind.
    #[test]
    fn this_machine_tells() {
        let facts = facts();
        assert!(facts.memory > 1 << 20 && !facts.cpus_online.is_empty() && !facts.kernel_build.is_empty());
        assert!(facts.boot_realtime > 0 && facts.boot_realtime < nanoseconds(ClockId::Realtime));
    }
}
