//! A recorder in a container with process ids of its own: which namespace that is, and where the kernel's structs tell the ids in it.

use anyhow::{Context, Result};
use libbpf_rs::HasSize;
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::{MemberAttr, Struct};

use crate::kernel;
use crate::kernel_types::KernelTypes;

/// What bpf/ids.h needs to know; all but the first are bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PidNamespace {
    /// Of `/proc/self/ns/pid`.
    pub(crate) inode: u32,
    /// Offset of `level` in `struct pid`: how many namespaces the process is in, besides the machine's.
    pub(crate) level: u32,
    /// Offset of `numbers`, one `struct upid` for each of them.
    pub(crate) numbers: u32,
    /// Size of `struct upid`.
    pub(crate) number_size: u32,
    /// Offset of `ns` in it.
    pub(crate) of_number: u32,
    /// Offset of the inode in `struct pid_namespace`.
    pub(crate) inode_offset: u32,
}

impl PidNamespace {
    /// The recorder's own namespace; `None` when it is the machine's.
    pub(crate) fn own() -> Result<Option<Self>> {
        kernel::own_process_ids().map(|inode| Self::find(inode as u32)).transpose()
    }

    fn find(inode: u32) -> Result<Self> {
        let excerpt = KernelTypes::of(&["pid", "upid", "pid_namespace", "ns_common"]);
        let types = match &excerpt {
            Some(excerpt) => Btf::from_path(excerpt.path()),
            None => Btf::from_vmlinux(),
        };
        let types = types.context("reading the kernel's types")?;
        let within = |name, member| offset(&types, name, member).with_context(|| format!("no {member} in {name}"));
        let number: Struct<'_> = types.type_by_name("upid").context("the kernel has no struct upid")?;
        Ok(Self {
            inode,
            level: within("pid", "level")?,
            numbers: within("pid", "numbers")?,
            number_size: number.size() as u32,
            of_number: within("upid", "ns")?,
            inode_offset: within("pid_namespace", "ns")? + within("ns_common", "inum")?,
        })
    }
}

/// Where a member of a struct is.
fn offset(types: &Btf<'_>, name: &str, member: &str) -> Option<u32> {
    let found: Struct<'_> = types.type_by_name(name)?;
    let member = found.iter().find(|found| found.name.is_some_and(|name| name == member))?;
    match member.attr {
        MemberAttr::Normal { offset } => Some(offset / 8),
        MemberAttr::BitField { .. } => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Where the kernel tells its types, all that is needed is found, in an order that makes sense.
    #[test]
    fn the_kernel_tells() {
        if kernel::no_types().is_some() {
            return;
        }
        let found = PidNamespace::find(7).unwrap();
        assert!(found.number_size >= 16 && found.of_number >= 8 && found.numbers > found.level);
    }
}
