//! The BPF programs: made to capture ticks as they are wanted, and loaded.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags};

use crate::args::{CallGraph, RecordArgs};
use crate::attach::{Clocks, MOST_THREAD_CLOCKS};
use crate::cgroup::Cgroup;
use crate::count_sets::{self, Sizes};
use crate::counting::Counting;
use crate::kernel;
use crate::kernel_types::KernelTypes;
use crate::loading::{check_host, explain, remember_warnings};
use crate::narrowing::Narrowing;
use crate::pid_namespace::PidNamespace;
use crate::scratch;
use crate::skeleton::{OpenProfrecSkel, ProfrecSkel, ProfrecSkelBuilder};
use crate::target::Target;

/// Of what counting does not use, there is as little as there can be.
const LEAST_STACK: u32 = 4 << 10;
const LEAST_RING: u32 = 64 << 10;
/// As many processes can be told apart where clocks of threads may have to give way to those of CPUs. An entry of the table takes 16 bytes, which all
/// are written at the start, for a case that is rare.
const SPARE_TARGETS: u32 = 4096;
/// `BPF_F_NO_PREALLOC`: entries of a map take memory when they are there. Programs of perf events may use such maps from Linux 6.1 on.
const NO_PREALLOC: u32 = 1;
/// Structs of the kernel that the programs look into; see bpf/kernel.h.
const LOOKED_INTO: [&str; 3] = ["task_struct", "mm_struct", "thread_struct"];

/// How ticks are captured.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) call_graph: CallGraph,
    pub(crate) whole_stack: u32,
    pub(crate) stack_size: u32,
    pub(crate) ring_size: u32,
    /// Nanoseconds between two ticks of a clock.
    pub(crate) period: u64,
    /// Threads and processes inherit clocks.
    pub(crate) inherited_clocks: bool,
    /// Ticks are CPU-wide, or may have to be, but only those of some processes or threads count.
    pub(crate) only_targets: bool,
    /// These are threads.
    pub(crate) targets_are_threads: bool,
    /// Children of these processes count too.
    pub(crate) follow_children: bool,
    /// Of these, only some ticks count.
    pub(crate) narrowing: Narrowing,
    /// Ticks are counted by their stacks, in maps of these sizes, instead of being sent.
    pub(crate) counting: Option<Sizes>,
    /// Of processes that are told, one in so many ticks is sent all the same.
    pub(crate) sample_every: Option<u32>,
}

impl Settings {
    /// As the command line wants it, of a target with such clocks.
    pub(crate) fn of(args: &RecordArgs, target: &Target, clocks: &Clocks, counting: Option<&Counting>) -> Result<Self> {
        let copies = args.copies_stacks();
        Ok(Self {
            call_graph: args.call_graph(),
            whole_stack: if copies { args.whole_stack() } else { LEAST_STACK },
            stack_size: if copies { args.stack_size() } else { LEAST_STACK },
            ring_size: if copies { args.ring_size() } else { LEAST_RING },
            period: args.period(),
            inherited_clocks: clocks.are_inherited(),
            only_targets: clocks.needs_filter() || clocks.are_inherited(),
            targets_are_threads: matches!(target, Target::Threads(_)),
            follow_children: target.has_children(args),
            narrowing: Narrowing::from_args(args)?,
            counting: counting.map(Counting::sizes),
            sample_every: args.samples_every(),
        })
    }
}

/// The programs in the kernel.
pub(crate) struct Programs {
    pub(crate) skeleton: ProfrecSkel<'static>,
    /// Depth of stacks that are copied whole.
    pub(crate) whole_stack: u32,
    /// So many clocks can have a number.
    pub(crate) most_clocks: u32,
    fork: Option<Link>,
}

impl Programs {
    /// Loads them; no clock runs yet.
    pub(crate) fn load(settings: &Settings) -> Result<Self> {
        check_host()?;
        remember_warnings();
        // The programs live as long as the recorder: one object, never given back.
        let storage = Box::leak(Box::new(MaybeUninit::uninit()));
        let types = KernelTypes::of(&LOOKED_INTO);
        let mut builder = ProfrecSkelBuilder::default();
        if let Some(types) = &types {
            builder.object_builder_mut().btf_custom_path(types.path()).map_err(explain)?;
        }
        let mut open = builder.open(storage).map_err(explain)?;
        let cpus = libbpf_rs::num_possible_cpus()? as u32;
        let whole_stack = scratch::whole_stack(settings.whole_stack, cpus, settings.ring_size);
        let most_payload = scratch::most_payload(whole_stack.max(2 * settings.stack_size));
        let most_clocks = cpus + MOST_THREAD_CLOCKS as u32;
        set_variables(&mut open, settings, (whole_stack, most_payload))?;
        create_maps(&mut open, settings)?;
        open.maps.clocks.set_max_entries(1 + most_clocks)?;
        open.maps.scratch.set_max_entries(cpus)?;
        open.maps.scratch.set_value_size(scratch::scratch_size(most_payload))?;
        open.progs.on_fork.set_autoload(settings.only_targets && settings.follow_children);
        let skeleton = open.load().map_err(explain)?;
        narrow(&skeleton, &settings.narrowing).context("telling the kernel what to record")?;
        let mut programs = Self { skeleton, whole_stack, most_clocks, fork: None };
        if settings.follow_children && !settings.inherited_clocks {
            programs.follow_children()?;
        }
        Ok(programs)
    }

    /// Has children of processes that count do so, too: those that come from now on.
    pub(crate) fn follow_children(&mut self) -> Result<()> {
        let fork = self.skeleton.progs.on_fork.attach().context("attaching to the creation of processes")?;
        self.fork = Some(fork);
        Ok(())
    }
}

/// How many unread bytes in the ring wake the recorder: the more at once, the less each costs. A tick that does not fit wakes
/// nobody, so that there must be room for another one.
fn wakeup_bytes(ring_size: u32, most_payload: u32) -> u32 {
    if most_payload <= ring_size / 4 { ring_size / 2 } else { ring_size / 4 }
}

/// What the programs read before anything else.
fn set_variables(
    open: &mut OpenProfrecSkel<'static>,
    settings: &Settings,
    (whole_stack, most_payload): (u32, u32),
) -> Result<()> {
    let rodata = open.maps.rodata_data.as_deref_mut().context("the BPF programs have no configuration")?;
    rodata.call_graph = match settings.call_graph {
        CallGraph::Dwarf => 0,
        CallGraph::Fp => 1,
        CallGraph::None => 2,
    };
    (rodata.stack_cap, rodata.most_payload) = (settings.stack_size, most_payload);
    (rodata.period, rodata.inherited_clocks) = (settings.period, settings.inherited_clocks);
    rodata.wakeup_bytes = wakeup_bytes(settings.ring_size, most_payload);
    rodata.counting = settings.counting.is_some();
    rodata.sample_every = settings.sample_every.unwrap_or(0);
    rodata.only_targets = settings.only_targets;
    rodata.targets_are_threads = settings.targets_are_threads;
    let Narrowing { cgroups, comms, users } = &settings.narrowing;
    rodata.only_cgroups = cgroups.len() as u32;
    (rodata.only_comms, rodata.only_users) = (!comms.is_empty(), !users.is_empty());
    if let Some(namespace) = PidNamespace::own()? {
        (rodata.pid_namespace, rodata.level_in_pid) = (namespace.inode, namespace.level);
        (rodata.numbers_in_pid, rodata.number_size) = (namespace.numbers, namespace.number_size);
        rodata.namespace_in_number = namespace.of_number;
        rodata.inode_in_namespace = namespace.inode_offset;
    }
    let bss = open.maps.bss_data.as_deref_mut().context("the BPF programs have no variables")?;
    (bss.whole_stack, bss.least_weight) = (whole_stack, 1);
    Ok(())
}

/// Of a map that no code uses, all entries would be allocated at once: only those are created that are used.
fn create_maps(open: &mut OpenProfrecSkel<'static>, settings: &Settings) -> Result<()> {
    let Narrowing { cgroups, comms, users } = &settings.narrowing;
    open.maps.events.set_max_entries(settings.ring_size)?;
    open.maps.targets.set_autocreate(settings.only_targets)?;
    if settings.inherited_clocks {
        open.maps.targets.set_max_entries(SPARE_TARGETS)?;
    }
    if kernel::version() >= (6, 1) {
        open.maps.targets.set_map_flags(NO_PREALLOC)?;
    }
    open.maps.cgroups.set_autocreate(!cgroups.is_empty())?;
    open.maps.comms.set_autocreate(!comms.is_empty())?;
    open.maps.users.set_autocreate(!users.is_empty())?;
    count_sets::create(&mut open.maps, settings.counting)?;
    open.maps.broken.set_autocreate(settings.sample_every.is_some())?;
    open.maps.owed.set_autocreate(settings.sample_every.is_some())?;
    Ok(())
}

/// Fills the maps that narrow the target.
fn narrow(skeleton: &ProfrecSkel<'_>, narrowing: &Narrowing) -> Result<()> {
    for (index, cgroup) in (0..).zip(&narrowing.cgroups) {
        put_cgroup(skeleton, index, cgroup)?;
    }
    for comm in &narrowing.comms {
        skeleton.maps.comms.update(comm, &[1], MapFlags::ANY)?;
    }
    for user in &narrowing.users {
        skeleton.maps.users.update(&user.to_le_bytes(), &[1], MapFlags::ANY)?;
    }
    Ok(())
}

/// Has a control group count, in the place of the one that counted with this index.
pub(crate) fn put_cgroup(skeleton: &ProfrecSkel<'_>, index: u32, cgroup: &Cgroup) -> libbpf_rs::Result<()> {
    let descriptor = cgroup.as_fd().as_raw_fd().to_le_bytes();
    skeleton.maps.cgroups.update(&index.to_le_bytes(), &descriptor, MapFlags::ANY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the sizes, a ring that wakes nobody yet has room for the largest tick, unless two are more than it has.
    #[test]
    fn there_is_room_until_somebody_wakes() {
        for ring in [256 << 10, 1 << 20, 8 << 20, 64 << 20] {
            for stack in [4 << 10, 128 << 10, 512 << 10, 2 << 20] {
                let whole_stack = scratch::whole_stack(stack, 2, ring);
                let most = scratch::most_payload(whole_stack.max(stack));
                let wakes = wakeup_bytes(ring, most);
                assert!(ring - wakes > most || 2 * most > ring, "{ring} {most} {wakes}");
                assert!(wakes == ring / 2 || wakes == ring / 4);
            }
        }
        assert_eq!(wakeup_bytes(8 << 20, scratch::most_payload(512 << 10)), 4 << 20);
    }
}
