//! The image of the vDSO. It is the same for all processes of a kernel, so the recorder's own will do.

use std::fs::File;
use std::io::Write;

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::proc_maps::{self, MapsLine};

/// The bytes of the vDSO as mapped; empty when the recorder itself has none.
pub(crate) fn image() -> Result<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let mut vdso = None;
    let find = |line: MapsLine| {
        vdso = (line.path == "[vdso]" && line.end - line.start <= MOST).then_some(line);
        vdso.is_none()
    };
    proc_maps::each_executable_mapping(std::process::id(), find).context("reading the recorder's own mappings")?;
    let Some(vdso) = vdso else {
        return Ok(Vec::new());
    };
    let (start, length) = (vdso.start as *const u8, (vdso.end - vdso.start) as usize);
    // A recorder with capabilities, or of another account than it was started for, may not open its own /proc/self/mem.
    // SAFETY: the kernel has mapped these bytes, readable, at the start of this process (it has just said so); nobody
    // unmaps or writes them.
    Ok(unsafe { std::slice::from_raw_parts(start, length) }.to_vec())
}

/// The same as a file.
pub(crate) fn file() -> Result<File> {
    let file = memfd_create("vdso", MemfdFlags::CLOEXEC).context("making a file in memory")?;
    let mut file = File::from(file);
    file.write_all(&image()?).context("writing to memory")?;
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The vDSO is an ELF file.
    #[test]
    fn the_vdso_is_elf() {
        assert_eq!(image().unwrap()[..4], *b"\x7fELF");
    }
}
