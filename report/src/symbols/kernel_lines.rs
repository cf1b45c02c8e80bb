//! Inlined functions, files and lines of the kernel, from its own file. The functions' names are in the recording.

use foldhash::HashMap;

use super::cache::Remembered;
use super::dwarf::{self, DebugFiles, DwarfFrame};
use super::module::RawFrame;
use super::{ModuleSymbols, Source, Wanted};
use crate::local_files::{KernelFile, LocalFiles};
use crate::progress;
use crate::stacks::Location;

/// What the kernel's file says of the kernel's addresses in a profile.
#[derive(Debug)]
pub(super) struct KernelLines<'h> {
    how: &'h Wanted,
    /// By address, as recorded.
    frames: HashMap<u64, Vec<DwarfFrame>>,
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
        let addresses: Vec<u64> = kernel.collect();
        let mut found = Self { how, frames: HashMap::default(), symbols: None };
        let Some(attempts) = files.kernel_attempts().filter(|_| !addresses.is_empty()) else { return found };
        let why = match files.kernel() {
            None => "from the recording; no lines: no debug info of this kernel was found".to_owned(),
            // The names in the recording are all that is shown.
            Some(_) if !how.inlines && !how.lines => "from the recording; no lines are wanted".to_owned(),
            Some(kernel) => found.read(kernel, &addresses),
        };
        found.symbols = Some(ModuleSymbols { source: Source::Embedded, why, tried: attempts.to_vec() });
        found
    }

    /// The frames of a recorded function of the kernel at an address, innermost first.
    pub(super) fn frames(&self, address: u64, name: &str) -> Vec<RawFrame> {
        let known = self.frames.get(&address).map_or(&[][..], Vec::as_slice);
        let Some((outermost, inlined)) = known.split_last() else {
            return vec![self.frame(name, &DwarfFrame::default(), false)];
        };
        let inlined = inlined.iter().map(|inner| self.frame(inner.name.as_deref().unwrap_or("[inlined]"), inner, true));
        inlined.chain([self.frame(name, outermost, false)]).collect()
    }

    fn frame(&self, name: &str, known: &DwarfFrame, inlined: bool) -> RawFrame {
        RawFrame { name: self.how.readable(name).into(), file: known.file.clone(), line: known.line, inlined }
    }

    /// Looks the addresses up, in what earlier reports have found or in the file; says where they are from.
    fn read(&mut self, kernel: &KernelFile, addresses: &[u64]) -> String {
        let mut known = Remembered::of(&kernel.identity, &[&kernel.file], self.how);
        let in_file = |address: &u64| address.wrapping_sub(kernel.slide);
        let mut unknown: Vec<u64> = addresses.iter().map(in_file).collect();
        unknown.retain(|address| !known.frames().knows(*address));
        unknown.sort_unstable();
        unknown.dedup();
        let path = kernel.file.path().display();
        let learnt = if unknown.is_empty() { Ok(None) } else { learn(kernel, &unknown, self.how, &mut known) };
        let why = match learnt {
            Ok(None) => format!("from the recording, lines from {path}"),
            Ok(Some(trouble)) => format!("from the recording, lines from {path}; {trouble}"),
            Err(why) => format!("from the recording; {path} cannot be read: {why}"),
        };
        let frames =
            addresses.iter().filter_map(|address| Some((*address, known.frames().get(in_file(address))?.to_vec())));
        self.frames = frames.collect();
        known.keep();
        why
    }
}

/// Looks up what is not known; says what of it is missing.
fn learn(
    kernel: &KernelFile,
    unknown: &[u64],
    how: &Wanted,
    known: &mut Remembered<'_>,
) -> Result<Option<String>, String> {
    let doing = progress::doing("lines of the kernel", unknown.len() as u64);
    let main = object::File::parse(kernel.file.bytes()).map_err(|error| error.to_string())?;
    let files = DebugFiles { main: &main, shared: None, paths: &[kernel.file.path()] };
    let found = dwarf::frames_at(files, unknown, how.lines, &doing).map_err(|error| error.to_string())?;
    known.learn(unknown, found.frames, &found.passing);
    Ok(found.trouble)
}
