//! Paths of control groups by the ids that the kernel gives them: what a process was in when a tick hit it, however long ago
//! that is.

use std::path::PathBuf;
use std::sync::Arc;

use rustc_hash::FxHashMap;
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
}

impl CgroupIds {
    /// The path of the group with this id. A process that was in it is asked when it is not known; `None` when that has ended or has moved on.
    pub(crate) fn path(&mut self, id: u64, pid: u32) -> Option<Arc<str>> {
        if let Some(path) = self.paths.get(&id) {
            return Some(path.clone());
        }
        let mount = self.mount.get_or_insert_with(|| cgroup::mount().ok()).as_ref()?;
        let path = process_cgroup::path(pid)?;
        // The id of a group is its folder's inode.
        let folder = mount.join(path.strip_prefix('/')?);
        if stat(&folder).ok()?.st_ino != id {
            return None;
        }
        if self.paths.len() >= MOST {
            self.paths.clear();
        }
        let path: Arc<str> = Arc::from(path);
        self.paths.insert(id, path.clone());
        Some(path)
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
        let own = std::process::id();
        assert_eq!(ids.path(u64::MAX, own), None);
        let folder = |mount: PathBuf| mount.join(process_cgroup::path(own).unwrap().trim_start_matches('/'));
        let Some(id) = cgroup::mount().ok().and_then(|mount| Some(stat(folder(mount)).ok()?.st_ino)) else {
            return;
        };
        assert_eq!(ids.path(id, own).as_deref(), process_cgroup::path(own).as_deref());
        assert_eq!(ids.path(id, u32::MAX).as_deref(), process_cgroup::path(own).as_deref());
    }
}
