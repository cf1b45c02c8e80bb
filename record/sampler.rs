//! The programs in the kernel at work: attaches them to clocks, tells them what to do, and reads their counters.

use std::os::fd::{AsFd, AsRawFd, IntoRawFd};

use anyhow::{Context, Result, bail};
use libbpf_rs::skel::Skel;
use libbpf_rs::{MapCore, MapFlags, PerfEventOpts, ProgramInput};

use crate::budget::Pace;
use crate::cgroup::Cgroup;
use crate::count_sets::CountSets;
use crate::counts::Counts;
use crate::giant_frames::LeftOut;
use crate::hybrid::sampled::SampledProcesses;
use crate::outcomes::{Accounts, LostSecond};
use crate::own_cost;
use crate::perf_event::{self, Scope};
use crate::programs::{Programs, Settings, put_cgroup};
use crate::remedy;
use crate::ring::BpfRing;
use crate::running_clocks::{Opened, RunningClocks};
use crate::side_band::{SideBand, is_offline};
use crate::skeleton::Variables;
use crate::stream::now;

/// Kernel addresses that are named at once; NAMES_AT_ONCE in bpf/profrec.bpf.c.
const NAMES_AT_ONCE: usize = 64;

/// The programs in the kernel and the clocks that run them.
pub(crate) struct Sampler {
    programs: Programs,
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
}

impl Sampler {
    /// Loads the programs; gives the ring that they fill, too.
    pub(crate) fn load(settings: Settings) -> Result<(Self, BpfRing)> {
        let programs = Programs::load(&settings)?;
        let maps = &programs.skeleton.maps;
        let ring = BpfRing::map(maps.events.as_fd(), settings.ring_size as usize)
            .context("mapping the ring between kernel and recorder")?;
        let count_sets = settings.counting.map(|_| CountSets::of(&programs.skeleton)).transpose();
        let count_sets = count_sets.context("finding the counts")?;
        let sampled = settings.sample_every.map(|_| SampledProcesses::of(&programs.skeleton)).transpose();
        let sampled = sampled.context("finding the processes that are sampled")?;
        let sampler = Self {
            clocks: RunningClocks::new(programs.most_clocks),
            pace: Pace::USUAL,
            usual_stacks: (programs.whole_stack, settings.stack_size),
            period: settings.period,
            stopped: None,
            cgroups: settings.narrowing.cgroups,
            count_sets,
            sampled,
            programs,
        };
        Ok((sampler, ring))
    }

    /// Adds a process to those that count while ticks are CPU-wide.
    pub(crate) fn add_target(&self, pid: u32) -> Result<()> {
        self.programs.skeleton.maps.targets.update(&pid.to_le_bytes(), &[1], MapFlags::ANY).context("adding a target")
    }

    /// Removes a process that ended.
    pub(crate) fn remove_target(&self, pid: u32) {
        // Children that were followed in the kernel alone are not always there.
        let _absent = self.programs.skeleton.maps.targets.delete(&pid.to_le_bytes());
    }

    /// Children of processes that count for which there was no room among them.
    pub(crate) fn lost_children(&self) -> u64 {
        self.programs.skeleton.maps.bss_data.as_deref().map_or(0, |bss| bss.lost_children)
    }

    /// Looks whether other control groups are in the place of those that count.
    pub(crate) fn renew_cgroups(&mut self) -> Result<()> {
        for (index, cgroup) in (0..).zip(&mut self.cgroups) {
            if cgroup.was_replaced() {
                put_cgroup(&self.programs.skeleton, index, cgroup).context("telling of another control group")?;
            }
        }
        Ok(())
    }

    /// Has all stacks of a process sent again, because other words are pointers now. `layout` is new with each change.
    pub(crate) fn change_layout(&self, pid: u32, layout: u64) -> Result<()> {
        /// LAYOUTS in bpf/stack.h.
        const LAYOUTS: u32 = 4096;
        let slot = pid % LAYOUTS;
        let layouts = &self.programs.skeleton.maps.layouts;
        layouts.update(&slot.to_le_bytes(), &layout.to_le_bytes(), MapFlags::ANY).context("telling of new code")
    }

    /// Has a thread's giant frame not copied, as long as it is there.
    pub(crate) fn leave_out(&self, tid: u32, frame: LeftOut) -> Result<()> {
        /// LEFT_OUT in bpf/stack.h.
        const SLOTS: u32 = 1024;
        // struct left_out there.
        let fields = [u64::from(tid), frame.slot, frame.code, frame.length, frame.outer_start];
        let bytes: Vec<u8> = fields.into_iter().flat_map(u64::to_le_bytes).collect();
        let frames = &self.programs.skeleton.maps.left_out;
        frames.update(&(tid % SLOTS).to_le_bytes(), &bytes, MapFlags::ANY).context("telling of a giant frame")
    }

    /// Starts a clock. False when what it follows is gone: the thread ended, the CPU is offline.
    pub(crate) fn attach(&mut self, scope: Scope, period: u64, side_band: Option<&SideBand>) -> Result<bool> {
        let Some(opened) = self.open(scope, period, side_band)? else { return Ok(false) };
        self.start(opened)?;
        Ok(true)
    }

    /// Opens the clock of a CPU for the case that it has to tick later: it takes rights that are gone by then.
    pub(crate) fn reserve(&mut self, cpu: u32, side_band: &SideBand) -> Result<()> {
        if let Some(opened) = self.open(Scope::Cpu(cpu), self.period, Some(side_band))? {
            self.clocks.reserve(opened);
        }
        Ok(())
    }

    /// Has the clocks of CPUs that were reserved tick from now on, and those of threads no more. Where that fails, these go on.
    pub(crate) fn change_to_cpus(&mut self) -> Result<()> {
        let reserved = self.clocks.take_reserved();
        if reserved.is_empty() {
            bail!("no CPU has a clock that was opened at the start");
        }
        self.clocks.pause();
        let changed = reserved.into_iter().try_for_each(|opened| self.start(opened));
        let (is_left, of_cpus): (fn(Scope) -> bool, _) = match changed {
            Ok(()) => (|scope| !matches!(scope, Scope::Cpu(_)), true),
            Err(_) => (|scope| matches!(scope, Scope::Cpu(_)), false),
        };
        self.clocks.leave(is_left);
        if !of_cpus {
            self.variables()?.clocks_of_cpus = false;
            self.clocks.go_on();
        }
        changed
    }

    fn open(&mut self, scope: Scope, period: u64, side_band: Option<&SideBand>) -> Result<Option<Opened>> {
        let event = match perf_event::open_clock(scope, period) {
            Ok(event) => event,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) || is_offline(&error) => return Ok(None),
            Err(error) => return Err(remedy::perf(error)),
        };
        if let (Scope::Cpu(cpu), Some(side_band)) = (scope, side_band) {
            side_band.report_throttling(cpu, event.as_fd());
        }
        Ok(Some(self.clocks.number(event, scope)))
    }

    /// Has a clock tick at the pace of now, and its ticks captured.
    fn start(&mut self, opened: Opened) -> Result<()> {
        let (weight, number) = (self.pace.weight, opened.number);
        if weight > 1 {
            // Not when it is opened: for a while, programs may go by the period at which it was.
            perf_event::set_period(opened.event.as_fd(), self.period * u64::from(weight))
                .context("setting the period of a clock")?;
        }
        self.tell_weight(number, weight)?;
        if matches!(opened.scope, Scope::Cpu(_)) {
            self.variables()?.clocks_of_cpus = true;
        }
        let event = opened.event.try_clone().context("holding a clock")?;
        let options = PerfEventOpts { cookie: number.into(), ..PerfEventOpts::default() };
        // It is enabled with that.
        let link = self.programs.skeleton.progs.on_tick.attach_perf_event_with_opts(event.as_raw_fd(), options);
        let link = link.context("attaching to a clock")?;
        // The link closes the event with itself.
        let _owned_by_the_link = event.into_raw_fd();
        self.clocks.add(opened, link);
        Ok(())
    }

    /// Has children of processes that count do so from now on, which they may not have done so far.
    pub(crate) fn follow_children(&mut self) -> Result<()> {
        self.programs.follow_children()
    }

    fn variables(&mut self) -> Result<&mut Variables> {
        self.programs.skeleton.maps.bss_data.as_deref_mut().context("the BPF programs have no variables")
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
        self.variables()?.whole_stack = whole_stack;
        if pace.weight != self.pace.weight {
            // From here on each tick looks up what it stands for, unless all stand for one.
            self.variables()?.least_weight = pace.weight.max(2);
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
            self.variables()?.least_weight = pace.weight;
        }
        self.pace = pace;
        Ok(())
    }

    /// Tells the programs what a tick of a clock stands for.
    fn tell_weight(&self, number: u32, weight: u32) -> Result<()> {
        let clocks = &self.programs.skeleton.maps.clocks;
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
        let bss = self.programs.skeleton.maps.bss_data.as_deref_mut().context("the BPF programs have no variables")?;
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
        let cpus =
            self.programs.skeleton.maps.outcomes.lookup_percpu(&all, MapFlags::ANY).context("reading the counters")?;
        let mut accounts = Accounts::of_cpus(&cpus.unwrap_or_default());
        let of_cpus = self.programs.skeleton.maps.bss_data.as_deref().is_some_and(|bss| bss.clocks_of_cpus);
        if let Some(end) = self.stopped.filter(|_| of_cpus) {
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
            let seconds = &self.programs.skeleton.maps.lost_seconds;
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

    /// Nanoseconds between two ticks at the pace of now.
    pub(crate) fn longest_period(&self) -> u64 {
        self.period * u64::from(self.pace.weight)
    }

    /// Nanoseconds that the clocks have run, all together.
    pub(crate) fn clock_time(&self) -> u64 {
        self.clocks.time()
    }

    /// Bytes of kernel memory that the maps take, as the kernel tells them (Linux before 6.4: about).
    pub(crate) fn kernel_memory(&self) -> u64 {
        self.programs.skeleton.object().maps().map(|map| own_cost::locked_memory(map.as_fd())).sum()
    }

    /// Whether counters can be read and kernel code be named with the rights that the thread has now.
    pub(crate) fn works(&mut self) -> bool {
        self.accounts().is_ok() && self.name_kernel_addresses(&[0]).is_ok()
    }

    /// Names addresses in the kernel as the kernel prints them, such as `do_idle+0x8f/0x1b0`.
    pub(crate) fn name_kernel_addresses(&mut self, addresses: &[u64]) -> Result<Vec<String>> {
        let mut names = Vec::with_capacity(addresses.len());
        for batch in addresses.chunks(NAMES_AT_ONCE) {
            let bss = self.variables()?;
            bss.kernel_addresses = [0; NAMES_AT_ONCE];
            bss.kernel_addresses[..batch.len()].copy_from_slice(batch);
            self.programs
                .skeleton
                .progs
                .name_kernel_addresses
                .test_run(ProgramInput::default())
                .context("naming kernel code")?;
            let bss = self.programs.skeleton.maps.bss_data.as_deref().context("the BPF programs have no variables")?;
            names.extend(bss.kernel_names[..batch.len()].iter().map(|name| text(name)));
        }
        Ok(names)
    }
}

fn text(bytes: &[i8]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
