//! The only room that knows libbpf: loads the BPF programs, attaches them to clocks, and reads their
//! counters.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};

use anyhow::{Context, Result};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, PerfEventOpts, ProgramInput};

use crate::args::CallGraph;
use crate::attach::MOST_THREAD_CLOCKS;
use crate::budget::Pace;
use crate::cgroup::Cgroup;
use crate::count_sets::{self, CountSets, Sizes};
use crate::counts::Counts;
use crate::giant_frames::LeftOut;
use crate::hybrid::sampled::SampledProcesses;
use crate::kernel;
use crate::kernel_types::KernelTypes;
use crate::loading::{check_host, explain, remember_warnings};
use crate::narrowing::Narrowing;
use crate::outcomes::{Accounts, LostSecond};
use crate::own_cost;
use crate::perf_event::{self, Scope};
use crate::pid_namespace::PidNamespace;
use crate::remedy;
use crate::ring::BpfRing;
use crate::running_clocks::RunningClocks;
use crate::scratch;
use crate::side_band::{SideBand, is_offline};
use crate::skeleton::{ProfrecSkel, ProfrecSkelBuilder};
use crate::stream::now;

/// Kernel addresses that are named at once; NAMES_AT_ONCE in bpf/profrec.bpf.c.
const NAMES_AT_ONCE: usize = 64;
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
    /// Ticks are CPU-wide, but only those of some processes or threads count.
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

/// The programs in the kernel and the clocks that run them.
pub(crate) struct Sampler {
    skeleton: ProfrecSkel<'static>,
    clocks: RunningClocks,
    pace: Pace,
    /// Depth of stacks that are copied whole, and what of others, at the usual pace.
    usual_stacks: (u32, u32),
    /// Nanoseconds between two ticks at the usual pace.
    period: u64,
    /// When the clocks were stopped.
    stopped: Option<u64>,
    /// Control groups that count.
    cgroups: Vec<Cgroup>,
    /// Where ticks are counted, when they are not sent.
    count_sets: Option<CountSets>,
    /// The processes that are sampled all the same.
    sampled: Option<SampledProcesses>,
    _fork: Option<Link>,
}

impl Sampler {
    /// Loads the programs; gives the ring that they fill, too.
    pub(crate) fn load(settings: Settings) -> Result<(Self, BpfRing)> {
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
        let rodata = open.maps.rodata_data.as_deref_mut().context("the BPF programs have no configuration")?;
        rodata.call_graph = match settings.call_graph {
            CallGraph::Dwarf => 0,
            CallGraph::Fp => 1,
            CallGraph::None => 2,
        };
        let cpus = libbpf_rs::num_possible_cpus()? as u32;
        let whole_stack = scratch::whole_stack(settings.whole_stack, cpus, settings.ring_size);
        let most_payload = scratch::most_payload(whole_stack.max(2 * settings.stack_size));
        (rodata.stack_cap, rodata.most_payload) = (settings.stack_size, most_payload);
        (rodata.period, rodata.inherited_clocks) = (settings.period, settings.inherited_clocks);
        rodata.wakeup_bytes = settings.ring_size / 4;
        rodata.counting = settings.counting.is_some();
        rodata.sample_every = settings.sample_every.unwrap_or(0);
        rodata.only_targets = settings.only_targets;
        rodata.targets_are_threads = settings.targets_are_threads;
        let Narrowing { cgroups, comms, users } = &settings.narrowing;
        rodata.only_cgroups = cgroups.len() as u32;
        (rodata.only_comms, rodata.only_users) = (!comms.is_empty(), !users.is_empty());
        let bss = open.maps.bss_data.as_deref_mut().context("the BPF programs have no variables")?;
        (bss.whole_stack, bss.least_weight) = (whole_stack, 1);
        let most_clocks = 1 + cpus.max(MOST_THREAD_CLOCKS as u32);
        open.maps.clocks.set_max_entries(most_clocks)?;
        if let Some(namespace) = PidNamespace::own()? {
            (rodata.pid_namespace, rodata.level_in_pid) = (namespace.inode, namespace.level);
            (rodata.numbers_in_pid, rodata.number_size) = (namespace.numbers, namespace.number_size);
            rodata.namespace_in_number = namespace.of_number;
            rodata.inode_in_namespace = namespace.inode_offset;
        }
        open.maps.events.set_max_entries(settings.ring_size)?;
        open.maps.scratch.set_max_entries(cpus)?;
        open.maps.scratch.set_value_size(scratch::scratch_size(most_payload))?;
        let fork = settings.only_targets && settings.follow_children;
        // Of a map that no code uses, all entries would be allocated at once.
        open.maps.targets.set_autocreate(settings.only_targets)?;
        if kernel::version() >= (6, 1) {
            open.maps.targets.set_map_flags(NO_PREALLOC)?;
        }
        open.maps.cgroups.set_autocreate(!cgroups.is_empty())?;
        open.maps.comms.set_autocreate(!comms.is_empty())?;
        open.maps.users.set_autocreate(!users.is_empty())?;
        count_sets::create(&mut open.maps, settings.counting)?;
        open.maps.broken.set_autocreate(settings.sample_every.is_some())?;
        open.maps.owed.set_autocreate(settings.sample_every.is_some())?;
        open.progs.on_fork.set_autoload(fork);
        let skeleton = open.load().map_err(explain)?;
        let _fork = match fork {
            true => Some(skeleton.progs.on_fork.attach().context("attaching to the creation of processes")?),
            false => None,
        };
        narrow(&skeleton, &settings.narrowing).context("telling the kernel what to record")?;
        let ring = BpfRing::map(skeleton.maps.events.as_fd(), settings.ring_size as usize)
            .context("mapping the ring between kernel and recorder")?;
        let count_sets =
            settings.counting.map(|_| CountSets::of(&skeleton)).transpose().context("finding the counts")?;
        let sampled = settings.sample_every.map(|_| SampledProcesses::of(&skeleton)).transpose();
        let sampled = sampled.context("finding the processes that are sampled")?;
        let sampler = Self {
            skeleton,
            clocks: RunningClocks::new(most_clocks - 1),
            pace: Pace::USUAL,
            usual_stacks: (whole_stack, settings.stack_size),
            period: settings.period,
            stopped: None,
            cgroups: settings.narrowing.cgroups,
            count_sets,
            sampled,
            _fork,
        };
        Ok((sampler, ring))
    }

    /// Adds a process to those that count while ticks are CPU-wide.
    pub(crate) fn add_target(&self, pid: u32) -> Result<()> {
        self.skeleton.maps.targets.update(&pid.to_le_bytes(), &[1], MapFlags::ANY).context("adding a target")
    }

    /// Removes a process that ended.
    pub(crate) fn remove_target(&self, pid: u32) {
        // Children that were followed in the kernel alone are not always there.
        let _absent = self.skeleton.maps.targets.delete(&pid.to_le_bytes());
    }

    /// Children of processes that count for which there was no room among them.
    pub(crate) fn lost_children(&self) -> u64 {
        self.skeleton.maps.bss_data.as_deref().map_or(0, |bss| bss.lost_children)
    }

    /// Looks whether other control groups are in the place of those that count.
    pub(crate) fn renew_cgroups(&mut self) -> Result<()> {
        for (index, cgroup) in (0..).zip(&mut self.cgroups) {
            if cgroup.was_replaced() {
                put_cgroup(&self.skeleton, index, cgroup).context("telling of another control group")?;
            }
        }
        Ok(())
    }

    /// Has all stacks of a process sent again, because other words are pointers now. `layout` is new with each change.
    pub(crate) fn change_layout(&self, pid: u32, layout: u64) -> Result<()> {
        /// LAYOUTS in bpf/stack.h.
        const LAYOUTS: u32 = 4096;
        let slot = pid % LAYOUTS;
        let layouts = &self.skeleton.maps.layouts;
        layouts.update(&slot.to_le_bytes(), &layout.to_le_bytes(), MapFlags::ANY).context("telling of new code")
    }

    /// Has a thread's giant frame not copied, as long as it is there.
    pub(crate) fn leave_out(&self, tid: u32, frame: LeftOut) -> Result<()> {
        /// LEFT_OUT in bpf/stack.h.
        const SLOTS: u32 = 1024;
        // struct left_out there.
        let fields = [u64::from(tid), frame.slot, frame.code, frame.length, frame.outer_start];
        let bytes: Vec<u8> = fields.into_iter().flat_map(u64::to_le_bytes).collect();
        let frames = &self.skeleton.maps.left_out;
        frames.update(&(tid % SLOTS).to_le_bytes(), &bytes, MapFlags::ANY).context("telling of a giant frame")
    }

    /// Starts a clock. False when what it follows is gone: the thread ended, the CPU is offline.
    pub(crate) fn attach(&mut self, scope: Scope, period: u64, side_band: Option<&SideBand>) -> Result<bool> {
        let weight = self.pace.weight;
        let event = match perf_event::open_clock(scope, period * u64::from(weight)) {
            Ok(event) => event,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) || is_offline(&error) => return Ok(false),
            Err(error) => return Err(remedy::perf(error)),
        };
        if let Scope::Cpu(cpu) = scope {
            let bss = self.skeleton.maps.bss_data.as_deref_mut().context("the BPF programs have no variables")?;
            bss.clocks_of_cpus = true;
            if let Some(side_band) = side_band {
                side_band.report_throttling(cpu, event.as_fd());
            }
        }
        let number = self.clocks.take_number();
        self.tell_weight(number, weight)?;
        let held = event.try_clone().context("holding a clock")?;
        let options = PerfEventOpts { cookie: number.into(), ..PerfEventOpts::default() };
        let link = self.skeleton.progs.on_tick.attach_perf_event_with_opts(event.as_raw_fd(), options);
        let link = link.context("attaching to a clock")?;
        // The link closes the event with itself.
        let _owned_by_the_link = event.into_raw_fd();
        self.clocks.add(held, scope, number, link);
        Ok(true)
    }

    /// Gives up the clock of a CPU that went: it is dead, also when the CPU comes back.
    pub(crate) fn detach(&mut self, cpu: u32) {
        self.clocks.remove(cpu);
    }

    /// How stacks are copied at a pace: whole up to this depth, and so many bytes of both ends of others.
    pub(crate) fn stacks(&self, pace: Pace) -> (u32, u32) {
        let (whole, ends) = self.usual_stacks;
        if pace.cut { (whole.min(2 * ends), ends) } else { (whole, ends) }
    }

    /// Samples at another pace from now on.
    pub(crate) fn set_pace(&mut self, pace: Pace, period: u64) -> Result<()> {
        let (whole_stack, _) = self.stacks(pace);
        let bss = self.skeleton.maps.bss_data.as_deref_mut().context("the BPF programs have no variables")?;
        bss.whole_stack = whole_stack;
        if pace.weight != self.pace.weight {
            // From here on each tick looks up what it stands for, unless all stand for one.
            bss.least_weight = pace.weight.max(2);
            // Between the two steps a tick counts for the smaller weight: a few for too little, rather than many for too much.
            let falls = pace.weight < self.pace.weight;
            for (number, clock) in self.clocks.numbered() {
                if falls {
                    self.tell_weight(number, pace.weight)?;
                }
                perf_event::set_period(clock, period * u64::from(pace.weight))
                    .context("changing the period of a clock")?;
                if !falls {
                    self.tell_weight(number, pace.weight)?;
                }
            }
            let bss = self.skeleton.maps.bss_data.as_deref_mut().context("the BPF programs have no variables")?;
            bss.least_weight = pace.weight;
        }
        self.pace = pace;
        Ok(())
    }

    /// Tells the programs what a tick of a clock stands for.
    fn tell_weight(&self, number: u32, weight: u32) -> Result<()> {
        let clocks = &self.skeleton.maps.clocks;
        clocks.update(&number.to_le_bytes(), &weight.to_le_bytes(), MapFlags::ANY).context("telling of a clock")
    }

    /// Stops all clocks.
    pub(crate) fn stop(&mut self) {
        self.clocks.stop();
        self.stopped = Some(now());
    }

    /// What was counted since this was asked last; ticks are counted in the other set of maps from now on.
    pub(crate) fn take_counts(&mut self) -> Result<Counts> {
        let Some(sets) = &self.count_sets else { return Ok(Counts::default()) };
        let bss = self.skeleton.maps.bss_data.as_deref_mut().context("the BPF programs have no variables")?;
        let (ended, until) = (bss.active_set, now());
        bss.active_set = 1 - ended;
        sets.wait_for_programs()?;
        let mut counts = sets.take(ended as usize)?;
        counts.until = until;
        if let Some(sampled) = &mut self.sampled {
            sampled.take_ended(&mut counts)?;
        }
        Ok(counts)
    }

    /// The processes that are sampled while others are counted.
    pub(crate) fn sampled(&mut self) -> Option<&mut SampledProcesses> {
        self.sampled.as_mut()
    }

    /// What became of the ticks so far, on each CPU.
    pub(crate) fn accounts(&self) -> Result<Accounts> {
        let all = 0u32.to_le_bytes();
        let cpus = self.skeleton.maps.outcomes.lookup_percpu(&all, MapFlags::ANY).context("reading the counters")?;
        let mut accounts = Accounts::of_cpus(&cpus.unwrap_or_default());
        if let Some(end) = self.stopped {
            accounts.miss_until(end, self.period);
        }
        Ok(accounts)
    }

    /// When ticks did not fit into the ring: of each CPU, by its number, the seconds of the last minute in which that happened.
    pub(crate) fn lost_seconds(&self) -> Result<Vec<(u32, LostSecond)>> {
        /// LOST_SECONDS in bpf/accounts.h.
        const SLOTS: u32 = 64;
        let mut lost = Vec::new();
        for slot in 0..SLOTS {
            let seconds = &self.skeleton.maps.lost_seconds;
            let values =
                seconds.lookup_percpu(&slot.to_le_bytes(), MapFlags::ANY).context("reading when ticks were lost")?;
            let values = values.unwrap_or_default();
            let parsed = (0..).zip(&values).filter_map(|(cpu, bytes)| Some((cpu, LostSecond::parse(bytes)?)));
            lost.extend(parsed.filter(|(_, second)| second.count > 0));
        }
        Ok(lost)
    }

    /// Nanoseconds between two ticks at the usual pace.
    pub(crate) fn period(&self) -> u64 {
        self.period
    }

    /// Nanoseconds that the clocks have run, all together.
    pub(crate) fn clock_time(&self) -> u64 {
        self.clocks.time()
    }

    /// Bytes of kernel memory that the maps take, as the kernel tells them (Linux before 6.4: about).
    pub(crate) fn kernel_memory(&self) -> u64 {
        self.skeleton.object().maps().map(|map| own_cost::locked_memory(map.as_fd())).sum()
    }

    /// Whether counters can be read and kernel code be named with the rights that the thread has now.
    pub(crate) fn works(&mut self) -> bool {
        self.accounts().is_ok() && self.name_kernel_addresses(&[0]).is_ok()
    }

    /// Names addresses in the kernel as the kernel prints them, such as `do_idle+0x8f/0x1b0`.
    pub(crate) fn name_kernel_addresses(&mut self, addresses: &[u64]) -> Result<Vec<String>> {
        let mut names = Vec::with_capacity(addresses.len());
        for batch in addresses.chunks(NAMES_AT_ONCE) {
            let bss = self.skeleton.maps.bss_data.as_deref_mut().context("the BPF programs have no variables")?;
            bss.kernel_addresses = [0; NAMES_AT_ONCE];
            bss.kernel_addresses[..batch.len()].copy_from_slice(batch);
            self.skeleton
                .progs
                .name_kernel_addresses
                .test_run(ProgramInput::default())
                .context("naming kernel code")?;
            let bss = self.skeleton.maps.bss_data.as_deref().context("the BPF programs have no variables")?;
            names.extend(bss.kernel_names[..batch.len()].iter().map(|name| text(name)));
        }
        Ok(names)
    }
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

fn put_cgroup(skeleton: &ProfrecSkel<'_>, index: u32, cgroup: &Cgroup) -> libbpf_rs::Result<()> {
    let descriptor = cgroup.as_fd().as_raw_fd().to_le_bytes();
    skeleton.maps.cgroups.update(&index.to_le_bytes(), &descriptor, MapFlags::ANY)
}

fn text(bytes: &[i8]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
