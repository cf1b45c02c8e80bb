//! The cgroup of a process: what of a host it belongs to, such as a service or a container.

use std::fs;

/// The path of a process's cgroup as its host shows it, such as `/system.slice/nginx.service`; `None` when the process has ended.
pub(crate) fn path(pid: u32) -> Option<String> {
    // The kernel's paths are no longer than 4,096 bytes.
    Some(parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cgroup")).ok()?)))
}

/// Of lines `NUMBER:CONTROLLERS:PATH`, one for each hierarchy, the path in the one of version 2 (`0::PATH`). Where that is not in
/// use and has all processes in its root, the first other path.
fn parse(lines: &str) -> String {
    let path = |line: &str| {
        let (_, path) = line.split_once(':')?.1.split_once(':')?;
        path.starts_with('/').then(|| path.to_owned())
    };
    let version_2 = lines.lines().find(|line| line.starts_with("0::")).and_then(path);
    let in_use = |path: &String| path != "/";
    let others = || lines.lines().filter_map(path).find(in_use);
    version_2.clone().filter(in_use).or_else(others).or(version_2).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Version 2 counts where it is in use, else whichever hierarchy of version 1 tells something.
    #[test]
    fn both_versions_are_read() {
        assert_eq!(parse("0::/system.slice/nginx.service\n"), "/system.slice/nginx.service");
        assert_eq!(parse("4:memory:/\n3:cpu,cpuacct:/docker/0a:1\n0::/\n"), "/docker/0a:1");
        assert_eq!(parse("3:cpu:/docker/0a1\n0::/a:b\n"), "/a:b");
        assert_eq!(parse("1:name=systemd:/\n"), "");
        assert_eq!(parse("0::/\n"), "/");
        assert_eq!(parse("no cgroups\n:\n"), "");
    }

    /// This very process is in some cgroup; one that is not there is in none.
    #[test]
    fn this_process_has_a_cgroup() {
        assert!(path(std::process::id()).is_some());
        assert_eq!(path(u32::MAX), None);
    }
}
