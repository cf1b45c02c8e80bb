//! Inlined functions, files and lines of the kernel, from its own file. The functions' names are in the recording.

use std::path::Path;

use super::dwarf::{self, DebugFiles, DwarfFrame};
use super::module::RawFrame;
use super::{ModuleSymbols, Source, Wanted};
use crate::local_files::LocalFiles;
use crate::progress;
use crate::stacks::Location;

/// What the kernel's file says of the kernel's addresses in a profile.
#[derive(Debug)]
pub(super) struct KernelLines<'h> {
    how: &'h Wanted,
    /// Ascending, as recorded.
    addresses: Vec<u64>,
    frames: Vec<Vec<DwarfFrame>>,
    /// Where it is from, or why there is nothing.
    pub(super) symbols: Option<ModuleSymbols>,
}

impl<'h> KernelLines<'h> {
    /// Reads what the kernel's file says, if there is one.
    pub(super) fn find(locations: &[Location], files: &LocalFiles, how: &'h Wanted) -> Self {
        let kernel = locations.iter().filter_map(|location| match location {
            Location::Kernel { address } => Some(*address),
            _ => None,
        });
        let mut addresses: Vec<u64> = kernel.collect();
        addresses.sort_unstable();
        addresses.dedup();
        let Some(attempts) = files.kernel_attempts().filter(|_| !addresses.is_empty()) else {
            return Self { how, addresses: Vec::new(), frames: Vec::new(), symbols: None };
        };
        let (frames, why) = match files.kernel() {
            None => (Vec::new(), "from the recording; no lines: no debug info of this kernel was found".to_owned()),
            Some(kernel) => {
                let path = kernel.file.path();
                match read(kernel.file.bytes(), path, kernel.slide, &addresses, how.lines) {
                    Ok(frames) => (frames, format!("from the recording, lines from {}", path.display())),
                    Err(why) => (Vec::new(), format!("from the recording; {} cannot be read: {why}", path.display())),
                }
            }
        };
        let symbols = ModuleSymbols { source: Source::Embedded, why, tried: attempts.to_vec() };
        Self { how, addresses, frames, symbols: Some(symbols) }
    }

    /// The frames of a recorded function of the kernel at an address, innermost first.
    pub(super) fn frames(&self, address: u64, name: &str) -> Vec<RawFrame> {
        let index = self.addresses.binary_search(&address).ok();
        let known = index.and_then(|index| self.frames.get(index)).map_or(&[][..], Vec::as_slice);
        let Some((outermost, inlined)) = known.split_last() else {
            return vec![self.frame(name, &DwarfFrame::default(), false)];
        };
        let inlined = inlined.iter().map(|inner| self.frame(inner.name.as_deref().unwrap_or("[inlined]"), inner, true));
        inlined.chain([self.frame(name, outermost, false)]).collect()
    }

    fn frame(&self, name: &str, known: &DwarfFrame, inlined: bool) -> RawFrame {
        RawFrame { name: self.how.readable(name).into(), file: known.file.clone(), line: known.line, inlined }
    }
}

fn read(bytes: &[u8], path: &Path, slide: u64, addresses: &[u64], lines: bool) -> Result<Vec<Vec<DwarfFrame>>, String> {
    let doing = progress::doing("lines of the kernel", addresses.len() as u64);
    let main = object::File::parse(bytes).map_err(|error| error.to_string())?;
    let mut in_file: Vec<u64> = addresses.iter().map(|address| address.wrapping_sub(slide)).collect();
    // Ascending also where the distance takes some of them around the end.
    let around = in_file.iter().zip(in_file.iter().skip(1)).position(|(a, b)| a > b).map_or(0, |at| at + 1);
    in_file.rotate_left(around);
    let files = DebugFiles { main: &main, shared: None, paths: &[path] };
    let mut found = dwarf::frames_at(files, &in_file, lines, &doing).map_err(|error| error.to_string())?;
    found.frames.rotate_right(around);
    Ok(found.frames)
}
