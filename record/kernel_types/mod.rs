//! The few of the kernel's types that the BPF programs look into.
//!
//! libbpf finds the offsets of fields in the kernel's type information, and for that checks and indexes all of it: 150,000 types, a
//! fifth of what a start costs. So it gets an excerpt, which is made by passing over the first thousand or so:
//!
//! ```text
//!  /sys/kernel/btf/vmlinux ─► btf (which types there are) ─► excerpt (structs by name, and what they consist of)
//!                                                                │
//!                       libbpf ◄── /proc/self/fd/N, in memory ◄──┘
//! ```
//!
//! What is not understood is left to libbpf, as before.

mod btf;
mod excerpt;

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use memmap2::{Mmap, MmapOptions};
use rustix::fs::{MemfdFlags, memfd_create};

use btf::Btf;

use crate::kernel;

/// An excerpt of the kernel's types, as a file in memory.
pub(crate) struct KernelTypes(File);

impl KernelTypes {
    /// Of these structs, and all that is inside of them; what they point to is left out. `None` when that cannot be: libbpf says why, or
    /// knows better.
    pub(crate) fn of(structs: &[&str]) -> Option<Self> {
        let bytes = Bytes::of_kernel().ok()?;
        let mut types = Btf::open(&bytes)?;
        let numbers = types.find(structs)?;
        let excerpt = excerpt::of(types, &numbers)?;
        let mut file = File::from(memfd_create("profrec-types", MemfdFlags::CLOEXEC).ok()?);
        file.write_all(&excerpt).ok()?;
        Some(Self(file))
    }

    /// Where the excerpt can be opened, as long as `self` is there.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// All of the kernel's types: mapped, as Linux lets them be from 6.16 on, or read.
enum Bytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl Bytes {
    fn of_kernel() -> io::Result<Self> {
        let file = File::open(kernel::TYPES)?;
        // SAFETY: what is mapped is the running kernel's, which nobody changes or cuts short.
        match unsafe { MmapOptions::new().map_copy_read_only(&file) } {
            Ok(mapped) => Ok(Self::Mapped(mapped)),
            Err(_) => fs::read(kernel::TYPES).map(Self::Read),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use libbpf_rs::btf::Btf as Theirs;
    use libbpf_rs::btf::types::Struct;

    use super::*;

    /// Of the running kernel's structs, libbpf finds the same members at the same places in the excerpt.
    #[test]
    fn members_are_where_the_kernel_has_them() {
        if kernel::no_types().is_some() {
            return;
        }
        let names = ["task_struct", "mm_struct", "pid"];
        let excerpt = KernelTypes::of(&names).unwrap();
        let (all, excerpt) = (Theirs::from_vmlinux().unwrap(), Theirs::from_path(excerpt.path()).unwrap());
        for name in names {
            let members = |types: &Theirs<'_>| {
                let found: Struct<'_> = types.type_by_name(name).unwrap();
                let member =
                    |member: libbpf_rs::btf::types::StructMember<'_>| format!("{:?} {:?}", member.name, member.attr);
                found.iter().map(member).collect::<Vec<_>>()
            };
            assert_eq!(members(&excerpt), members(&all), "{name}");
        }
        assert!(excerpt.len() * 20 < all.len(), "{} of {} types", excerpt.len(), all.len());
    }
}
