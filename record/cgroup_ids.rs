//! Paths of control groups by the ids that the kernel gives them: what a process was in when a tick hit it, however long ago
//! that is.

use std::path::PathBuf;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::stat;

use crate::{cgroup, process_cgroup};

/// More are forgotten together: a machine that makes groups without end does not make the recorder grow.
const MOST: usize = 16 << 10;

/// The groups that processes were seen in.
#[derive(Debug, Default)]
pub(crate) struct CgroupIds {
    /// Where the hierarchy of version 2 is mounted; `None` before it was looked for, and inside it where it is not.
    mount: Option<Option<PathBuf>>,
    paths: FxHashMap<u64, Arc<str>>,
    /// Those that were asked for in vain.
    missed: FxHashSet<u64>,
}

impl CgroupIds {
    /// The path of the group with this id. A thread that was in it is asked when it is not known; `None` when that has ended or has moved on.
    pub(crate) fn path(&mut self, id: u64, thread: (u32, u32)) -> Option<Arc<str>> {
        if let Some(path) = self.paths.get(&id) {
            return Some(path.clone());
        }
        if self.missed.contains(&id) {
            return None;
        }
        let Some(path) = self.ask(id, thread) else {
            self.missed.insert(id);
            return None;
        };
        if self.paths.len() >= MOST {
            self.paths.clear();
        }
        self.paths.insert(id, path.clone());
        Some(path)
    }

    /// Asks again for what was not found: time has passed.
    pub(crate) fn look_again(&mut self) {
        self.missed.clear();
    }

    fn ask(&mut self, id: u64, (pid, tid): (u32, u32)) -> Option<Arc<str>> {
        let mount = self.mount.get_or_insert_with(|| cgroup::mount().ok()).as_ref()?;
        let path = process_cgroup::path_of_thread(pid, tid)?;
        // The id of a group is its folder's inode.
        let folder = mount.join(path.strip_prefix('/')?);
        (stat(&folder).ok()?.st_ino == id).then(|| Arc::from(path))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A group is known by a process that is in it; later it needs none.
    #[test]
    fn a_group_is_found_by_its_process() {
        let mut ids = CgroupIds::default();
        let own = (std::process::id(), std::process::id());
        assert_eq!(ids.path(u64::MAX, own), None);
        let path = process_cgroup::path(own.0).unwrap();
        let folder = |mount: PathBuf| mount.join(path.trim_start_matches('/'));
        let Some(id) = cgroup::mount().ok().and_then(|mount| Some(stat(folder(mount)).ok()?.st_ino)) else {
            return;
        };
        let nobody = (u32::MAX, u32::MAX);
        assert_eq!((ids.path(id, nobody), ids.path(id, own)), (None, None));
        ids.look_again();
        assert_eq!(ids.path(id, own).as_deref(), Some(&*path));
        assert_eq!(ids.path(id, nobody).as_deref(), Some(&*path));
    }
}
