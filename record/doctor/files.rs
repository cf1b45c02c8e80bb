//! Whether there is room for a recording.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

use super::check::Check;
use crate::summary::size;

/// Minutes of recording at 99 Hz on many CPUs fit into this.
const LITTLE: u64 = 100 << 20;

/// The place of the output.
pub(super) fn checks(output: &Path) -> Vec<Check> {
    const NAME: &str = "disk";
    let folder = match output.is_dir() {
        true => output,
        false => output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    };
    let name = folder.display();
    if let Err(error) = accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        return vec![Check::fail(NAME, format!("{name} cannot be written to: {error}"), "give another place with -o")];
    }
    vec![match statvfs(folder) {
        Err(error) => Check::note(NAME, format!("the room in {name} is not known: {error}"), "look with `df`"),
        Ok(room) => {
            let free = room.f_bavail.saturating_mul(room.f_frsize);
            match free {
                0 => Check::fail(NAME, format!("{name} is full"), "make room, or give another place with -o"),
                1..LITTLE => Check::note(
                    NAME,
                    format!("{} are free in {name}", size(free)),
                    "make room, or give another place with -o",
                ),
                _ => Check::ok(NAME, format!("{} are free in {name}", size(free))),
            }
        }
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder, a file that will be in one, and places that are none.
    #[test]
    fn places_are_judged() {
        for (place, works) in
            [("/tmp", true), ("/tmp/new.prof", true), ("/proc/new.prof", false), ("/no/such/a.prof", false)]
        {
            assert_eq!(checks(Path::new(place)).iter().all(Check::works), works, "{place}");
        }
    }
}
