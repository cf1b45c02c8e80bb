//! Paths that come from elsewhere: from a recording, or out of a binary. They are hints, and may be chosen to lead to a
//! file of the kernel, or to one without end.

use std::path::{Path, PathBuf};

use super::attempt::Outcome;

/// What the kernel appends to the path of a mapped file that was removed.
const DELETED: &str = " (deleted)";
/// Where files are not what they seem: to read one can do something.
const KERNELS_OWN: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Larger than any binary with its debug info.
const MAX_SIZE: u64 = 64 << 30;

/// The path as the recorded machine had it, if it can be one of this machine; else why it is not looked at.
pub(crate) fn recorded_path(path: &str) -> Result<PathBuf, Outcome> {
    let path = Path::new(path.strip_suffix(DELETED).unwrap_or(path));
    require_harmless(path).map(|()| path.to_owned())
}

/// Refuses a path that must not be opened.
pub(super) fn require_harmless(path: &Path) -> Result<(), Outcome> {
    let refused = |why: &str| Err(Outcome::LeftOut(why.to_owned()));
    let is_kernels_own = |path: &Path| KERNELS_OWN.iter().any(|folder| path.starts_with(folder));
    if !path.is_absolute() {
        return refused("not an absolute path");
    }
    if is_kernels_own(path) {
        return refused("a path in /proc, /sys or /dev");
    }
    // What is not there, or not for us to see, is told by whoever tries to open it.
    let Ok(real) = path.canonicalize() else { return Ok(()) };
    if is_kernels_own(&real) {
        return refused("leads into /proc, /sys or /dev");
    }
    match real.metadata() {
        Ok(metadata) if metadata.len() >= MAX_SIZE => refused("64 GiB or larger"),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A path that leads to the kernel's files, or to a file without end, is not followed, whatever it looks like.
    #[test]
    fn does_not_follow_every_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::os::unix::fs::symlink("/sys/kernel", at("kernel")).unwrap();
        std::fs::File::create(at("huge")).unwrap().set_len(MAX_SIZE).unwrap();
        std::fs::write(at("small"), "x").unwrap();
        let refused =
            ["/proc/self/mem", "/dev/../dev/zero", "/usr/../sys/kernel/notes", "etc/passwd", "../../etc/shadow"];
        for path in refused.map(str::to_owned).into_iter().chain([at("kernel/notes"), at("huge")]) {
            assert!(matches!(recorded_path(&path), Err(Outcome::LeftOut(_))), "{path}");
        }
        assert!(recorded_path(&at("small")).is_ok());
    }
}
