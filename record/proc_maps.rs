//! Reads what `/proc` says about a process that was there before the recording, or that the
//! process events did not tell of.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};

use anyhow::{Context, Result, bail};
use rustc_hash::FxHashSet;

use crate::remedy::Refused;

/// An executable mapping as a line of `/proc/PID/maps` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapsLine {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) offset: u64,
    /// The file's device.
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) inode: u64,
    pub(crate) path: String,
}

/// A line is a path (4,096 bytes, of which `\n` takes four) and some numbers.
const MAX_LINE: u64 = 20 << 10;

/// Fails where nothing could be learnt of any process, or only of others than those that the kernel tells of.
pub(crate) fn check_proc() -> Result<()> {
    const HELP: &str = "as root: mount -t proc proc /proc";
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        bail!(Refused::new("/proc is missing: what processes have mapped is read there", HELP));
    };
    if is_of_outer_namespace(&status) {
        bail!(Refused::new("/proc has the process ids of another namespace than profrec's own", HELP));
    }
    Ok(())
}

/// Whether a process has other ids than the one that is shown: its own namespace is inside of the one that is shown.
fn is_of_outer_namespace(status: &str) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_ascii_whitespace().count() > 1)
}

/// Hands the executable mappings of a process to `each`, in the order of their addresses, as long as that wants more.
pub(crate) fn each_executable_mapping(pid: u32, each: impl FnMut(MapsLine) -> bool) -> io::Result<()> {
    each_executable_line(BufReader::with_capacity(64 << 10, File::open(format!("/proc/{pid}/maps"))?), each)
}

fn each_executable_line(mut maps: impl BufRead, mut each: impl FnMut(MapsLine) -> bool) -> io::Result<()> {
    let mut line = Vec::new();
    while (&mut maps).take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        if let Some(mapping) = parse_executable(String::from_utf8_lossy(&line).trim_end_matches('\n'))
            && !each(mapping)
        {
            break;
        }
        line.clear();
    }
    Ok(())
}

/// A line such as `55d0c8a5e000-55d0c8b6a000 r-xp 0002c000 fe:00 1573 /usr/bin/bash`; `None` when
/// it is not executable, or not of this form.
fn parse_executable(line: &str) -> Option<MapsLine> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    Some(MapsLine {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset,
        major: u32::from_str_radix(major, 16).ok()?,
        minor: u32::from_str_radix(minor, 16).ok()?,
        inode: fields.next()?.parse().ok()?,
        // The one character that the kernel writes in another way; process events have it as it is.
        path: fields.next().unwrap_or_default().trim_start().replace("\\012", "\n"),
    })
}

/// The name of a thread; empty when it has ended.
pub(crate) fn thread_name(pid: u32, tid: u32) -> String {
    match fs::read(format!("/proc/{pid}/task/{tid}/comm")) {
        Ok(bytes) => String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned(),
        Err(_ended) => String::new(),
    }
}

/// The ids of the threads of a process, ascending.
pub(crate) fn threads(pid: u32) -> Result<Vec<u32>> {
    let folder = format!("/proc/{pid}/task");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("there is no process {pid}: see `pgrep -a NAME` for the ids of running processes")
        }
        Err(error) => return Err(error).with_context(|| format!("reading {folder}")),
    };
    let mut threads: Vec<u32> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    threads.sort_unstable();
    Ok(threads)
}

/// The ids of all processes that can be seen.
pub(crate) fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The process of a thread.
pub(crate) fn process_of(tid: u32) -> Result<u32> {
    // /proc has a folder for each thread, though it lists none but the first of a process.
    let status = fs::read_to_string(format!("/proc/{tid}/status"));
    let process =
        status.ok().and_then(|status| status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()));
    process.with_context(|| format!("there is no thread {tid}: `ls /proc/PID/task` lists the threads of a process"))
}

/// Whether a thread has not ended.
pub(crate) fn is_running(pid: u32, tid: u32) -> bool {
    fs::exists(format!("/proc/{pid}/task/{tid}")).unwrap_or(true)
}

/// The parent of a process and whether it is a kernel thread; `None` when it has ended.
pub(crate) fn parent_and_kind(pid: u32) -> Option<(u32, bool)> {
    const KERNEL_THREAD: u32 = 0x0020_0000;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold any character.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let flags: u32 = fields.nth(4)?.parse().ok()?;
    Some((parent, flags & KERNEL_THREAD != 0))
}

/// The ids of the child processes of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for thread in threads(pid).unwrap_or_default() {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
        found.extend(children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    found
}

/// The ids of the child processes of some processes and of theirs, without those themselves.
pub(crate) fn descendants(pids: &[u32]) -> Vec<u32> {
    let mut found = Vec::new();
    let mut seen: FxHashSet<u32> = pids.iter().copied().collect();
    let mut parents = pids.to_vec();
    while let Some(parent) = parents.pop() {
        for child in children(parent) {
            if seen.insert(child) {
                found.push(child);
                parents.push(child);
            }
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A line gives its range, offset, file and path, blanks in the path included.
    #[test]
    fn a_line_gives_its_fields() {
        let line = "55d0c8a5e000-55d0c8b6a000 r-xp 0002c000 fe:00 1573                  /opt/a b/c (deleted)";
        let parsed = parse_executable(line).unwrap();
        assert_eq!((parsed.start, parsed.end, parsed.offset), (0x55d0_c8a5_e000, 0x55d0_c8b6_a000, 0x2c000));
        assert_eq!((parsed.major, parsed.minor, parsed.inode), (0xfe, 0, 1573));
        assert_eq!(parsed.path, "/opt/a b/c (deleted)");
    }

    /// A path with a line end is as process events have it.
    #[test]
    fn a_path_may_have_lines() {
        assert_eq!(parse_executable("1000-2000 r-xp 0 0:0 1 /a\\012b\\c").unwrap().path, "/a\nb\\c");
    }

    /// Anonymous executable memory has no path; memory that is not executable gives nothing.
    #[test]
    fn only_executable_memory_counts() {
        assert_eq!(parse_executable("7f00-7f01 rwxp 00000000 00:00 0 ").unwrap().path, "");
        assert_eq!(parse_executable("7f00-7f01 rw-p 00000000 00:00 0 "), None);
        assert_eq!(parse_executable(""), None);
    }

    /// Any lines, cut anywhere, are read as far as somebody wants them, and a line without end is cut.
    #[test]
    fn lines_are_read_as_far_as_wanted() {
        let line = b"1000-2000 r-xp 0 0:0 1 /x\n";
        let two = [&line[..], b"\xff\xfe no mapping\n", b"3000-4000 rw-p 0 0:0 1 /y\n", line].concat();
        let read = |bytes: &[u8], most: usize| {
            let mut found = Vec::new();
            each_executable_line(bytes, |line| {
                found.push(line);
                found.len() < most
            })
            .unwrap();
            found
        };
        assert_eq!([read(&two, 9).len(), read(&two, 1).len()], [2, 1]);
        let endless = [b"1000-2000 r-xp 0 0:0 1 /", &[b'x'; 1 << 20][..]].concat();
        assert_eq!(read(&endless[..], 1)[0].path.len(), MAX_LINE as usize - 23);
        for length in 0..two.len() {
            read(&two[..length], 9);
        }
    }

    /// This very process has a name, a parent, threads and executable memory.
    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        let mut has_vdso = false;
        each_executable_mapping(pid, |line| {
            has_vdso |= line.path == "[vdso]";
            true
        })
        .unwrap();
        assert!(has_vdso);
        assert!(threads(pid).unwrap().contains(&pid));
        assert!(!thread_name(pid, pid).is_empty());
        assert!(!parent_and_kind(pid).unwrap().1);
    }

    /// Where `/proc` is that of an outer namespace, a process has an id more.
    #[test]
    fn an_outer_namespace_shows() {
        let status = |ids: &str| is_of_outer_namespace(&format!("Name:\tx\nNSpid:\t{ids}\nNSpgid:\t1\t2\n"));
        assert_eq!(["7", "123\t7", "5\t4\t1"].map(status), [false, true, true]);
        assert!(!is_of_outer_namespace("Name:\tx\n") && check_proc().is_ok());
    }

    /// Children of several processes are found once each, and none of the processes themselves.
    #[test]
    fn children_are_found() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let (own, shell) = (std::process::id(), child.id());
        let grandchild = loop {
            if let [grandchild] = children(shell)[..] {
                break grandchild;
            }
        };
        let among = |found: Vec<u32>| [own, shell, grandchild].map(|pid| found.iter().filter(|it| **it == pid).count());
        assert_eq!(among(descendants(&[own])), [0, 1, 1]);
        assert_eq!(among(descendants(&[own, shell])), [0, 0, 1]);
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(grandchild as i32).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        child.wait().unwrap();
    }
}
