//! The kernel's own reports of what happens to processes: executable mappings with their build-ids,
//! names, forks and exits. One ring a CPU; read in the order of time, not of CPUs.
//!
//! The events are CPU-wide also when single processes are recorded: an event that is inherited by
//! child processes cannot have a ring, unless it is opened once for each thread on each CPU.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::event::epoll;

use crate::perf_event;
use crate::remedy;
use crate::ring::PerfRing;

/// Bytes of a CPU's ring. perf_event_mlock_kb allows 516 KiB a CPU to everyone. A process that is started and ends takes about 1 KB.
const RING_BYTES: usize = 256 << 10;
/// Each time that so many bytes have been written, the recorder is to look.
const WAKE_BYTES: u32 = RING_BYTES as u32 / 4;

/// Something that happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessEvent {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(crate) time: u64,
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Mapping {
        pid: u32,
        start: u64,
        end: u64,
        offset: u64,
        path: String,
        file: FileIdentity,
    },
    Comm {
        pid: u32,
        tid: u32,
        comm: String,
        exec: bool,
    },
    Fork {
        pid: u32,
        tid: u32,
        parent: u32,
        parent_tid: u32,
    },
    Exit {
        pid: u32,
        tid: u32,
    },
    /// A control group came into being.
    Cgroup {
        id: u64,
        path: String,
    },
    /// Events of a CPU did not fit into its ring, the first of them after `since`.
    Lost {
        count: u64,
        cpu: u32,
        since: u64,
    },
    /// A CPU's clock was stopped, or goes on.
    Throttled {
        cpu: u32,
    },
}

impl What {
    /// Whether it is about a process that the recorder sees: those outside of its namespace of process ids have none.
    fn is_seen(&self) -> bool {
        match self {
            Self::Mapping { pid, .. } | Self::Comm { pid, .. } | Self::Fork { pid, .. } | Self::Exit { pid, .. } => {
                !matches!(*pid, 0 | u32::MAX)
            }
            Self::Cgroup { .. } | Self::Lost { .. } | Self::Throttled { .. } => true,
        }
    }
}

/// How the kernel identified a mapped file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FileIdentity {
    BuildId(Vec<u8>),
    /// A number may be given to another file once its file is removed: the generation tells them apart. 0 where nobody tells it.
    Inode {
        major: u32,
        minor: u32,
        inode: u64,
        generation: u64,
    },
}

/// The rings of all CPUs.
pub(crate) struct SideBand {
    cpus: Vec<Cpu>,
    /// Readable when one of the rings is filling.
    filling: OwnedFd,
    /// The kernel tells build-ids.
    build_ids: bool,
    /// It is asked for new control groups.
    cgroups: bool,
}

/// The ring of a CPU.
struct Cpu {
    number: u32,
    ring: PerfRing,
    /// The ring stops when its event is closed.
    event: OwnedFd,
    /// When its last event was.
    last: u64,
    /// How long its event had run when that was asked last.
    ran: u64,
}

impl SideBand {
    /// Opens the events of the given CPUs, with those of control groups if they are of use.
    pub(crate) fn open(cpus: &[u32], cgroups: bool) -> Result<Self> {
        let filling = epoll::create(epoll::CreateFlags::CLOEXEC).context("watching the process events")?;
        let mut side_band = Self { cpus: Vec::new(), filling, build_ids: true, cgroups };
        for &cpu in cpus {
            side_band.add(cpu, cpus.len())?;
        }
        Ok(side_band)
    }

    /// Opens the events of one more CPU of `all`, unless it went offline.
    pub(crate) fn add(&mut self, number: u32, all: usize) -> Result<()> {
        let cgroups = self.cgroups;
        let open = |build_ids| perf_event::open_process_events(number, (build_ids, cgroups), WAKE_BYTES);
        let mut event = open(self.build_ids);
        if self.build_ids && matches!(&event, Err(error) if error.raw_os_error() == Some(libc::EINVAL)) {
            self.build_ids = false;
            event = open(false);
        }
        let event = match event {
            Err(error) if is_offline(&error) => return Ok(()),
            event => event.map_err(remedy::perf).with_context(|| format!("process events of CPU {number}"))?,
        };
        let ring = PerfRing::map(event.as_fd(), RING_BYTES)
            .map_err(|error| remedy::ring(error, RING_BYTES + rustix::param::page_size(), all))?;
        epoll::add(&self.filling, &event, epoll::EventData::new_u64(0), epoll::EventFlags::IN)
            .context("watching the process events")?;
        let ran = perf_event::process_events_time(event.as_fd());
        self.cpus.push(Cpu { number, ring, event, last: 0, ran });
        Ok(())
    }

    /// Closes the events of a CPU that went, once they are drained: they are dead, and might be readable for ever.
    pub(crate) fn remove(&mut self, number: u32) {
        self.cpus.retain(|cpu| cpu.number != number);
    }

    /// The CPUs whose events have not run since this was asked last: they were offline meanwhile.
    pub(crate) fn dead(&mut self) -> Vec<u32> {
        let mut dead = Vec::new();
        for cpu in &mut self.cpus {
            let ran = perf_event::process_events_time(cpu.event.as_fd());
            // 0 where the kernel does not say.
            if std::mem::replace(&mut cpu.ran, ran) == ran && ran > 0 {
                dead.push(cpu.number);
            }
        }
        dead
    }

    /// Takes all events that are there, in the order of their times.
    pub(crate) fn drain(&mut self, into: &mut Vec<ProcessEvent>) {
        for Cpu { number, ring, last, .. } in &mut self.cpus {
            ring.drain(|record| {
                let Some(mut event) = parse(record, *number) else { return };
                if let What::Lost { since, .. } = &mut event.what {
                    *since = *last;
                }
                *last = event.time;
                into.extend(Some(event).filter(|event| event.what.is_seen()));
            });
        }
        into.sort_by_key(|event| event.time);
    }

    /// Has the clock of a CPU report here that the kernel stops it. Where that cannot be, the ticks that it does not give tell.
    pub(crate) fn report_throttling(&self, cpu: u32, clock: BorrowedFd<'_>) {
        if let Some(ring) = self.cpus.iter().find(|ring| ring.number == cpu) {
            let _told_by_missed_ticks = perf_event::report_to(clock, ring.event.as_fd());
        }
    }

    /// Bytes of kernel memory that the rings take.
    pub(crate) fn kernel_memory(&self) -> u64 {
        (self.cpus.len() * (RING_BYTES + rustix::param::page_size())) as u64
    }
}

impl AsFd for SideBand {
    /// Readable when a ring has filled so far that it should be read: once, for polling an event clears its mark.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.filling.as_fd()
    }
}

/// A CPU that went offline meanwhile.
pub(crate) fn is_offline(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENODEV)
}

/// Reads a record; `None` for kinds that were not asked for and for records that are too short.
fn parse(record: &[u8], cpu: u32) -> Option<ProcessEvent> {
    const LOST: u32 = 2;
    const COMM: u32 = 3;
    const EXIT: u32 = 4;
    const THROTTLE: u32 = 5;
    const UNTHROTTLE: u32 = 6;
    const FORK: u32 = 7;
    const MMAP2: u32 = 10;
    const CGROUP: u32 = 19;
    const MISC_COMM_EXEC: u16 = 1 << 13;
    const MISC_MMAP_BUILD_ID: u16 = 1 << 14;
    // Every record ends with what `sample_id_all` adds: u32 pid, u32 tid, u64 time.
    const TRAILER: usize = 16;

    let fields = Fields(record);
    let body_end = record.len().checked_sub(TRAILER)?;
    let time = fields.u64(body_end + 8)?;
    let misc = fields.u16(4)?;
    let [pid, second, third, fourth] = [8, 12, 16, 20].map(|at| fields.u32(at));
    let what = match fields.u32(0)? {
        MMAP2 => {
            let start = fields.u64(16)?;
            let file = if misc & MISC_MMAP_BUILD_ID != 0 {
                let length = usize::from(*record.get(40)?).min(20);
                FileIdentity::BuildId(record.get(44..44 + length)?.to_vec())
            } else {
                let [major, minor] = [fields.u32(40)?, fields.u32(44)?];
                FileIdentity::Inode { major, minor, inode: fields.u64(48)?, generation: fields.u64(56)? }
            };
            What::Mapping {
                pid: pid?,
                start,
                end: start.checked_add(fields.u64(24)?)?,
                offset: fields.u64(32)?,
                path: text(record.get(72..body_end)?),
                file,
            }
        }
        COMM => What::Comm {
            pid: pid?,
            tid: second?,
            comm: text(record.get(16..body_end)?),
            exec: misc & MISC_COMM_EXEC != 0,
        },
        // u32 pid, ppid, tid, ptid.
        FORK => What::Fork { pid: pid?, tid: third?, parent: second?, parent_tid: fourth? },
        EXIT => What::Exit { pid: pid?, tid: third? },
        CGROUP => What::Cgroup { id: fields.u64(8)?, path: text(record.get(16..body_end)?) },
        LOST => What::Lost { count: fields.u64(16)?, cpu, since: 0 },
        THROTTLE | UNTHROTTLE => What::Throttled { cpu },
        _ => return None,
    };
    Some(ProcessEvent { time, what })
}

/// A string that ends with its first zero byte.
fn text(bytes: &[u8]) -> String {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u16(&self, at: usize) -> Option<u16> {
        self.0.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.0.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.0.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, misc: u16, body: &[u8]) -> Vec<u8> {
        let mut record = kind.to_le_bytes().to_vec();
        record.extend(misc.to_le_bytes());
        record.extend((8 + body.len() as u16 + 16).to_le_bytes());
        record.extend(body);
        record.extend([0; 8]);
        record.extend(77_u64.to_le_bytes());
        record
    }

    fn halves(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// A mapping with a build-id, as the kernel lays it out.
    #[test]
    fn a_mapping_with_a_build_id() {
        let mut body = halves(&[10, 11, 0x4000, 0, 0x1000, 0, 0x2000, 0]);
        body.extend([4, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef]);
        body.extend([0; 16]);
        body.extend(halves(&[5, 2]));
        body.extend(b"/bin/x\0\0");
        let what = What::Mapping {
            pid: 10,
            start: 0x4000,
            end: 0x5000,
            offset: 0x2000,
            path: "/bin/x".to_owned(),
            file: FileIdentity::BuildId(vec![0xde, 0xad, 0xbe, 0xef]),
        };
        assert_eq!(parse(&record(10, 1 << 14, &body), 0), Some(ProcessEvent { time: 77, what }));
    }

    /// A mapping of a file without a build-id has the place of the file, and which of its inode's files it is.
    #[test]
    fn a_mapping_without_a_build_id() {
        let mut body = halves(&[10, 11, 0x4000, 0, 0x1000, 0, 0x2000, 0, 8, 1, 77, 0, 9, 0, 5, 2]);
        body.extend(b"/bin/x\0\0");
        let event = parse(&record(10, 0, &body), 0).map(|event| event.what);
        let identity = FileIdentity::Inode { major: 8, minor: 1, inode: 77, generation: 9 };
        assert!(matches!(event, Some(What::Mapping { file, .. }) if file == identity));
    }

    /// The four numbers of a fork are not in the order that one expects.
    #[test]
    fn a_fork_and_an_exec() {
        let mut body = halves(&[20, 10, 21, 11]);
        body.extend([0; 8]);
        let fork = What::Fork { pid: 20, tid: 21, parent: 10, parent_tid: 11 };
        assert_eq!(parse(&record(7, 0, &body), 0).map(|event| event.what), Some(fork));
        let mut body = halves(&[20, 20]);
        body.extend(b"cc1plus\0");
        let exec = What::Comm { pid: 20, tid: 20, comm: "cc1plus".to_owned(), exec: true };
        assert_eq!(parse(&record(3, 1 << 13, &body), 0).map(|event| event.what), Some(exec));
    }

    /// A control group has an id of 64 bits and a path.
    #[test]
    fn a_new_cgroup() {
        let body = [&7_u64.to_le_bytes()[..], b"/system.slice/x\0"].concat();
        let cgroup = What::Cgroup { id: 7, path: "/system.slice/x".to_owned() };
        assert_eq!(parse(&record(19, 0, &body), 0).map(|event| event.what), Some(cgroup));
    }

    /// Lost events are those of the ring's CPU, as a clock is that is stopped and one that goes on.
    #[test]
    fn what_a_cpu_reports() {
        let what = |kind, body: &[u8]| parse(&record(kind, 0, body), 3).map(|event| event.what);
        assert_eq!(what(2, &[[0; 8], 9_u64.to_le_bytes()].concat()), Some(What::Lost { count: 9, cpu: 3, since: 0 }));
        assert_eq!(what(5, &[0; 24]), Some(What::Throttled { cpu: 3 }));
        assert_eq!(what(6, &[0; 24]), Some(What::Throttled { cpu: 3 }));
    }

    /// Any record that is cut short, or of an unknown kind, gives nothing or a whole event: no panic.
    #[test]
    fn short_records_are_refused() {
        for kind in 0..20 {
            for length in 0..80 {
                parse(&record(kind, u16::MAX, &vec![0xff; length])[..length.min(8) + length], 0);
            }
        }
    }
}
