//! Gives up rights. Loading BPF programs and opening clocks needs some; once they are attached, nearly all of them are
//! only good for whoever finds a hole in the recorder. Linux gives rights to threads, so each thread gives up its own.
//!
//! A recorded command keeps all of its: it was forked before.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::args::{Embed, RecordArgs};
use crate::kernel;
use crate::narrowing;
use crate::target::Target;

/// From this version of Linux on, CAP_PERFMON is enough to read what processes have mapped.
const FIRST_WITH_PERFMON: (u32, u32) = (6, 15);

/// Whom the recorder works for after the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    user: Uid,
    group: Gid,
}

impl Account {
    /// The account of `--user`.
    pub(crate) fn from_args(args: &RecordArgs) -> Result<Option<Self>> {
        let Some(name) = &args.user else {
            return Ok(None);
        };
        let held = capabilities(None).context("reading the own capabilities")?.effective;
        if !held.contains(CapabilitySet::SETUID | CapabilitySet::SETGID) {
            bail!("--user needs the right to become another user: start profrec as root (sudo)");
        }
        let (user, group) = narrowing::account(name)?;
        Ok(Some(Self { user: Uid::from_raw(user), group: Gid::from_raw(group) }))
    }

    /// Gives it a file, if it is one: never a terminal or a disk.
    pub(crate) fn take(self, output: BorrowedFd<'_>) -> Result<()> {
        let mode = rustix::fs::fstat(output).context("looking at the output")?.st_mode;
        if rustix::fs::FileType::from_raw_mode(mode).is_file() {
            rustix::fs::fchown(output, Some(self.user), Some(self.group)).context("giving the recording to --user")?;
        }
        Ok(())
    }

    /// Makes the calling thread one of this account, with its rights still permitted.
    fn become_it(self) -> Result<(), Errno> {
        set_keep_capabilities(true)?;
        set_thread_groups(&[])?;
        set_thread_res_gid(self.group, self.group, self.group)?;
        set_thread_res_uid(self.user, self.user, self.user)?;
        set_keep_capabilities(false)
    }
}

/// What the thread that reads `/proc` and opens the programs' files needs after the start.
///
/// Of processes that were there before the recording, `/proc/PID/maps` is read when their first tick comes, and the files that they map
/// are opened when their code is first seen. For processes of other users that takes:
///
/// - CAP_SYS_PTRACE: `/proc/PID/maps`, and the way to the files, `/proc/PID/root` and `map_files`; without it, from Linux
///   6.15 on CAP_PERFMON is enough for `maps`,
/// - CAP_DAC_READ_SEARCH: programs that only their owner may read,
/// - CAP_CHECKPOINT_RESTORE: `map_files`, the very file that is mapped, though it was deleted or replaced.
///
/// With nothing to embed, files need not be read; of given processes the maps are known by then, and the kernel reports what changes.
pub(crate) fn needed(args: &RecordArgs, target: &Target, account: Option<Account>) -> Result<CapabilitySet> {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    let maps = match held.contains(CapabilitySet::SYS_PTRACE) {
        true => CapabilitySet::SYS_PTRACE,
        false if kernel::version() >= FIRST_WITH_PERFMON => CapabilitySet::PERFMON,
        false => CapabilitySet::empty(),
    };
    let reads_files = args.embed() != Embed::None || args.names_run_time_code();
    let mut needed = match (reads_files, target) {
        (false, Target::Machine) => maps,
        (false, _) => CapabilitySet::empty(),
        _ => maps | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::CHECKPOINT_RESTORE,
    };
    // Ctrl-C ends the command too, which may have become another user.
    needed.set(CapabilitySet::KILL, matches!(target, Target::Command(_)));
    if args.rotate.is_some() || args.ring.is_some() {
        needed |= to_create_files(&args.output, account)?;
    }
    Ok(needed)
}

/// Why stacks of other users' processes will be incomplete with these rights on this version of Linux, if they will.
pub(crate) fn cannot_read_others(held: CapabilitySet, version: (u32, u32)) -> Option<&'static str> {
    let may_read = held.contains(CapabilitySet::SYS_PTRACE)
        || version >= FIRST_WITH_PERFMON && held.intersects(CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN);
    (!may_read).then_some(
        "what other users' processes that run already have mapped cannot be read: their stacks will be incomplete",
    )
}

/// What it takes to create more files beside the output, as parts and rings do: root may be no owner of the folder.
fn to_create_files(output: &Path, account: Option<Account>) -> Result<CapabilitySet> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let may_write = thread::scope(|scope| {
        let without_rights = scope.spawn(|| {
            keep_only(CapabilitySet::empty(), account).is_ok()
                && access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
        });
        without_rights.join().unwrap_or(false)
    });
    match (may_write, account) {
        (true, _) => Ok(CapabilitySet::empty()),
        (false, None) => Ok(CapabilitySet::DAC_OVERRIDE),
        (false, Some(_)) => bail!(
            "the account of --user may not create files in {}, where later ones are to be: give a folder of its own with -o",
            folder.display()
        ),
    }
}

/// Whether the calling thread has the rights that opening events takes.
pub(crate) fn may_open_events() -> bool {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    held.intersects(CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN)
}

/// Has the calling thread keep nothing but `keep` of its rights, for good, and work for `account`.
pub(crate) fn keep_only(keep: CapabilitySet, account: Option<Account>) -> Result<()> {
    reduce(keep, account).context("giving up rights")
}

/// The same, with what BPF still needs, if `works` says that it does not without: before Linux 5.19 the system call is
/// refused to all without CAP_BPF where `kernel.unprivileged_bpf_disabled` is set, whatever it is about.
pub(crate) fn keep_what_works(
    mut keep: CapabilitySet,
    account: Option<Account>,
    works: impl FnOnce() -> bool,
) -> Result<()> {
    if !works_without(works)? {
        let held = capabilities(None).context("reading the own capabilities")?.permitted;
        let bpf = CapabilitySet::BPF | CapabilitySet::PERFMON;
        keep |= if held.contains(bpf) { bpf } else { CapabilitySet::SYS_ADMIN };
    }
    keep_only(keep, account)
}

/// Whether `works` says so while the calling thread has no rights. Afterwards it has them again.
pub(crate) fn works_without(works: impl FnOnce() -> bool) -> Result<bool> {
    let sets = capabilities(None).context("reading the own capabilities")?;
    set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..sets })
        .context("trying without rights")?;
    let works = works();
    set_capabilities(None, sets).context("taking rights back")?;
    Ok(works)
}

fn reduce(keep: CapabilitySet, account: Option<Account>) -> Result<(), Errno> {
    let held = capabilities(None)?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        empty_bounding_set()?;
    }
    clear_ambient_capability_set()?;
    if let Some(account) = account {
        account.become_it()?;
    }
    set_no_new_privs(true)?;
    let kept = held.permitted & keep;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
}

/// No program that the thread starts can have any right then.
fn empty_bounding_set() -> Result<(), Errno> {
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // Beyond the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A thread that gave up everything has nothing left, and cannot take it back; other threads keep theirs.
    #[test]
    fn a_thread_gives_up_its_own_rights() {
        let before = capabilities(None).unwrap();
        let given_up = thread::spawn(|| {
            keep_only(CapabilitySet::empty(), None).unwrap();
            let none = CapabilitySets {
                effective: CapabilitySet::empty(),
                permitted: CapabilitySet::empty(),
                inheritable: CapabilitySet::empty(),
            };
            assert_eq!(capabilities(None).unwrap(), none);
            let wanted = CapabilitySet::SYS_PTRACE;
            let sets = CapabilitySets { effective: wanted, permitted: wanted, ..none };
            assert!(set_capabilities(None, sets).is_err());
            assert!(rustix::thread::no_new_privs().unwrap());
        });
        given_up.join().unwrap();
        assert_eq!(capabilities(None).unwrap(), before);
    }

    /// With two capabilities, others cannot be read before Linux 6.15; with the one for it, they can.
    #[test]
    fn who_can_read_others() {
        let two = CapabilitySet::BPF | CapabilitySet::PERFMON;
        assert!(cannot_read_others(two, (6, 12)).is_some() && cannot_read_others(two, (6, 15)).is_none());
        assert!(cannot_read_others(two | CapabilitySet::SYS_PTRACE, (6, 1)).is_none());
        assert!(cannot_read_others(CapabilitySet::empty(), (7, 0)).is_some());
    }

    /// What is tried without rights and does not work keeps those that BPF needs, as far as they were there.
    #[test]
    fn what_does_not_work_keeps_rights() {
        let held = capabilities(None).unwrap().permitted;
        for (works, kept) in [(true, CapabilitySet::empty()), (false, CapabilitySet::BPF | CapabilitySet::PERFMON)] {
            let tried = thread::spawn(move || {
                keep_what_works(CapabilitySet::empty(), None, || {
                    assert!(capabilities(None).unwrap().effective.is_empty());
                    works
                })
                .unwrap();
                capabilities(None).unwrap().permitted
            });
            let kept = if held.contains(kept) { kept } else { held & CapabilitySet::SYS_ADMIN };
            assert_eq!(tried.join().unwrap(), kept);
        }
    }
}
