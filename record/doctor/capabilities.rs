//! Which rights the recorder has, and where from.

use std::env;

use rustix::thread::{CapabilitySet, capabilities, capability_is_in_ambient_set, no_new_privs};

use super::check::Check;
use crate::{kernel, remedy, rights};

/// What is of use to a recorder, and whether recording or only reading needs it.
const USEFUL: [(CapabilitySet, &str); 8] = [
    (CapabilitySet::BPF, "bpf"),
    (CapabilitySet::PERFMON, "perfmon"),
    (CapabilitySet::SYS_ADMIN, "sys_admin"),
    (CapabilitySet::SYS_PTRACE, "sys_ptrace"),
    (CapabilitySet::DAC_READ_SEARCH, "dac_read_search"),
    (CapabilitySet::CHECKPOINT_RESTORE, "checkpoint_restore"),
    (CapabilitySet::IPC_LOCK, "ipc_lock"),
    (CapabilitySet::SYS_RESOURCE, "sys_resource"),
];

/// What reading mappings and programs of other users takes.
const READING: CapabilitySet =
    CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH).union(CapabilitySet::CHECKPOINT_RESTORE);

/// The rights of this process.
pub(super) fn checks() -> Vec<Check> {
    let Ok(sets) = capabilities(None) else {
        return vec![Check::note("rights", "the own capabilities cannot be read", "run profrec on the host")];
    };
    vec![recording(sets.effective), reading(sets.effective), ambient(), of_file()]
}

fn names(set: CapabilitySet) -> String {
    let names: Vec<&str> = USEFUL.iter().filter(|(one, _)| set.contains(*one)).map(|(_, name)| *name).collect();
    if names.is_empty() { "none that profrec can use".to_owned() } else { names.join(", ") }
}

fn recording(held: CapabilitySet) -> Check {
    let user = rustix::process::geteuid();
    let who = if user.is_root() { "root".to_owned() } else { format!("user {}", user.as_raw()) };
    let found = format!("{who} with {}", names(held));
    let suffice = held.contains(CapabilitySet::BPF | CapabilitySet::PERFMON) || held.contains(CapabilitySet::SYS_ADMIN);
    match suffice {
        true => Check::ok("rights", found),
        false if user.is_root() => Check::fail(
            "rights",
            format!("{found}: this root is confined"),
            "in a container: --cap-add BPF --cap-add PERFMON --cap-add SYS_PTRACE, or run profrec on the host",
        ),
        false => Check::fail("rights", found, remedy::become_able()),
    }
}

fn reading(held: CapabilitySet) -> Check {
    let missing = READING.difference(held);
    if missing.is_empty() {
        return Check::ok("reading others", "mappings and programs of all users");
    }
    let why = rights::cannot_read_others(held, kernel::version());
    let why = why.unwrap_or("stacks of other users' processes may be incomplete");
    let found = format!("without {}: {why}", names(missing));
    Check::note("reading others", found, remedy::give_capabilities())
}

/// Rights that a service manager or setpriv handed down.
fn ambient() -> Check {
    let handed = |one: &CapabilitySet| capability_is_in_ambient_set(*one).unwrap_or(false);
    let set = USEFUL.iter().map(|(one, _)| *one).filter(handed).fold(CapabilitySet::empty(), |all, one| all | one);
    if set.is_empty() {
        return Check::ok("ambient rights", "none (a service has them by AmbientCapabilities=)");
    }
    Check::ok("ambient rights", format!("{}: a recorded command has them too", names(set)))
}

/// Rights that `setcap` gave to this program.
fn of_file() -> Check {
    const NAME: &str = "file rights";
    let mut bytes = [0; 24];
    let read = env::current_exe().ok().and_then(|path| {
        let length = rustix::fs::getxattr(path, "security.capability", &mut bytes).ok()?;
        parse_file_capabilities(bytes.get(..length)?)
    });
    let Some(set) = read else {
        return Check::ok(NAME, "none (setcap gives them to a program)");
    };
    if no_new_privs().unwrap_or(false) {
        let found = format!("{}, but this process may gain no rights (no_new_privs)", names(set));
        return Check::note(NAME, found, "start profrec from a shell or a service without NoNewPrivileges");
    }
    Check::ok(NAME, format!("{}: whoever may run this program records everybody", names(set)))
}

/// `struct vfs_cap_data` of include/uapi/linux/capability.h: the permitted ones.
fn parse_file_capabilities(bytes: &[u8]) -> Option<CapabilitySet> {
    let word = |index: usize| Some(u64::from(u32::from_le_bytes(*bytes.get(index * 4..)?.first_chunk()?)));
    Some(CapabilitySet::from_bits_retain(word(1)? | word(3)? << 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What setcap writes for `cap_bpf,cap_perfmon=ep`, and pieces of it.
    #[test]
    fn file_capabilities_are_read() {
        let bytes = [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse_file_capabilities(&bytes), Some(CapabilitySet::BPF | CapabilitySet::PERFMON));
        for length in 0..16 {
            assert_eq!(parse_file_capabilities(&bytes[..length]), None);
        }
    }

    /// Recording takes two rights or the old one for all; reading is told by what is missing.
    #[test]
    fn rights_are_judged() {
        let two = CapabilitySet::BPF | CapabilitySet::PERFMON;
        assert!(recording(two).works() && recording(CapabilitySet::SYS_ADMIN).works());
        assert!(!recording(CapabilitySet::BPF).works() && !recording(CapabilitySet::empty()).works());
        assert!(reading(two).works() && !reading(two).is_ok() && reading(READING).is_ok());
        assert_eq!(names(two), "bpf, perfmon");
    }
}
