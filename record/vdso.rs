//! The image of the vDSO. It is the same for all processes of a kernel, so the recorder's own will do.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

use crate::proc_maps;

/// The bytes of the vDSO as mapped; empty when the recorder itself has none.
pub(crate) fn image() -> Result<Vec<u8>> {
    const MOST: u64 = 1 << 20;
    let mappings = proc_maps::executable_mappings(std::process::id()).context("reading the recorder's own mappings")?;
    let Some(vdso) = mappings.iter().find(|line| line.path == "[vdso]" && line.end - line.start <= MOST) else {
        return Ok(Vec::new());
    };
    let mut bytes = vec![0; (vdso.end - vdso.start) as usize];
    let memory = File::open("/proc/self/mem").context("opening the recorder's own memory")?;
    memory.read_exact_at(&mut bytes, vdso.start).context("reading the vDSO")?;
    Ok(bytes)
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
