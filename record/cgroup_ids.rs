//! Paths of control groups by the ids that the kernel gives them: what a process was in when a tick hit it, however long ago
//! that is.

use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::cgroup;

/// More are forgotten together: a machine that makes groups without end does not make the recorder grow.
const MOST: usize = 16 << 10;

/// Of the root of a whole hierarchy.
const ROOT: u64 = 1;

/// The groups of the machine, those that were there when it was looked for, and those that came since.
#[derive(Debug, Default)]
pub(crate) struct CgroupIds {
    /// Where the hierarchy of version 2 is mounted; `None` before it was looked for, and inside it where it is not.
    mount: Option<Option<PathBuf>>,
    /// The id of the root, which is no group of anybody's.
    root: u64,
    /// The paths of those below it.
    paths: FxHashMap<u64, Arc<str>>,
    /// All groups have been looked at, for one that was not known.
    has_looked: bool,
    /// The kernel tells of new ones as they are shown here; `None` before that was asked.
    tells: Option<bool>,
}

impl CgroupIds {
    /// Groups that the kernel has told of, where no others can be looked for.
    #[cfg(test)]
    pub(crate) fn told(groups: &[(u64, &str)]) -> Self {
        let mut ids = Self { mount: Some(None), tells: Some(true), ..Self::default() };
        groups.iter().for_each(|(id, path)| ids.learn(*id, path));
        ids
    }

    /// The path of the group with this id, which is not the root; `None` when it was gone before anybody looked.
    pub(crate) fn path(&mut self, id: u64) -> Option<Arc<str>> {
        let is_known = id == self.root || self.paths.contains_key(&id);
        if !self.has_looked && !is_known {
            self.has_looked = true;
            self.look();
        }
        self.paths.get(&id).cloned()
    }

    /// The kernel has told of a new group: it may be gone when somebody looks.
    pub(crate) fn learn(&mut self, id: u64, path: &str) {
        if !*self.tells.get_or_insert_with(tells_of_new_groups) {
            return;
        }
        if self.paths.len() >= MOST {
            self.paths.clear();
            self.has_looked = false;
        }
        self.paths.insert(id, path.into());
    }

    /// Looks again for what is not known: time has passed.
    pub(crate) fn look_again(&mut self) {
        self.has_looked = false;
    }

    /// Finds the groups that are there. The id of a group is its folder's inode.
    fn look(&mut self) {
        let Some(mount) = self.mount.get_or_insert_with(|| cgroup::mount().ok()) else { return };
        self.root = fs::metadata(&*mount).map_or(0, |root| root.ino());
        let mut folders = vec![mount.clone()];
        let mut found = FxHashMap::default();
        while let Some(folder) = folders.pop() {
            // A group may go while it is looked at.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if found.len() < MOST && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                    found.extend(shown(&entry.path(), mount).map(|path| (entry.ino(), path)));
                }
            }
        }
        if self.paths.len() + found.len() > MOST {
            self.paths.clear();
        }
        self.paths.extend(found);
    }
}

/// Whether the groups that perf events tell of are those of version 2, with paths that begin at the root that is seen here.
fn tells_of_new_groups() -> bool {
    let hierarchies = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let root = cgroup::mount().ok().and_then(|mount| fs::metadata(mount).ok());
    !is_of_version_1(&hierarchies) && root.is_some_and(|root| root.ino() == ROOT)
}

/// Whether perf events have a hierarchy of version 1, by lines `NUMBER:CONTROLLERS:PATH`.
fn is_of_version_1(hierarchies: &str) -> bool {
    let controllers = hierarchies.lines().filter_map(|line| line.split(':').nth(1));
    controllers.flat_map(|controllers| controllers.split(',')).any(|controller| controller == "perf_event")
}

/// A group's path as /proc/PID/cgroup shows it.
fn shown(folder: &Path, mount: &Path) -> Option<Arc<str>> {
    let below = folder.strip_prefix(mount).ok()?.to_string_lossy();
    Some(format!("/{below}").into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A group is known while it is there, and later, once somebody has looked.
    #[test]
    fn a_group_is_found_by_its_id() {
        let place = std::env::temp_dir().join(format!("profrec-groups-{}", std::process::id()));
        fs::create_dir_all(place.join("outer/inner")).unwrap();
        let mut ids = CgroupIds { mount: Some(Some(place.clone())), ..CgroupIds::default() };
        let id = |name: &str| fs::metadata(place.join(name)).unwrap().ino();
        let (inner, root) = (id("outer/inner"), id(""));
        assert_eq!(ids.path(inner).as_deref(), Some("/outer/inner"));
        fs::create_dir(place.join("late")).unwrap();
        fs::remove_dir(place.join("outer/inner")).unwrap();
        let late = id("late");
        assert_eq!((ids.path(inner).as_deref(), ids.path(late), ids.path(root)), (Some("/outer/inner"), None, None));
        ids.look_again();
        assert_eq!(ids.path(late).as_deref(), Some("/late"));
        fs::remove_dir_all(place).unwrap();
    }

    /// A group that the kernel has told of is known when it is gone, unless it is one of another hierarchy.
    #[test]
    fn a_group_that_was_told_of_is_known() {
        let mut ids = CgroupIds::told(&[(7, "/gone")]);
        assert_eq!((ids.path(7).as_deref(), ids.path(8)), (Some("/gone"), None));
        for id in 0..2 * MOST as u64 {
            ids.learn(id, "/many");
        }
        assert!(ids.paths.len() <= MOST);
        let mut ids = CgroupIds { mount: Some(None), tells: Some(false), ..CgroupIds::default() };
        ids.learn(7, "/gone");
        assert_eq!(ids.path(7), None);
        assert!(is_of_version_1("4:net_cls,perf_event:/\n0::/\n") && !is_of_version_1("4:memory:/perf_event\n0::/\n"));
    }

    /// Where there are no groups of version 2, none is known.
    #[test]
    fn there_may_be_none() {
        let mut ids = CgroupIds { mount: Some(None), ..CgroupIds::default() };
        assert_eq!(ids.path(1), None);
    }
}
