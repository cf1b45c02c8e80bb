//! framehop, the unwinder of samply: rip, rsp and rbp, by `.eh_frame` and frame pointers.

use std::fs;
use std::ops::Range;

use anyhow::{Context, Result};
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, Module, Unwinder};
use object::{Object, ObjectSection};
use profrec_format::RawStack;

use super::peer::{Peer, SpaceId, Walk, word};
use super::space::MappedFile;

/// No stack is deeper.
const DEEPEST: usize = 1 << 17;

/// framehop, with the address spaces that it was told of.
#[derive(Default)]
pub struct Framehop {
    spaces: Vec<UnwinderX86_64<Vec<u8>>>,
    cache: CacheX86_64,
}

impl Peer for Framehop {
    fn name(&self) -> &'static str {
        "framehop"
    }

    fn add_space(&mut self, files: &[MappedFile]) -> Result<()> {
        let mut unwinder = UnwinderX86_64::new();
        for file in files {
            unwinder.add_module(module(file)?);
        }
        self.spaces.push(unwinder);
        Ok(())
    }

    fn walk(&mut self, space: SpaceId, stack: &RawStack) -> Result<Walk> {
        let unwinder = self.spaces.get(space).context("there is no such space")?;
        let register = |number: usize| stack.registers.get(number).copied().unwrap_or_default();
        let (ip, sp, bp) = (register(16), register(7), register(6));
        let mut read = |address| word(stack, address).ok_or(());
        let mut frames = unwinder.iter_frames(ip, UnwindRegsX86_64::new(ip, sp, bp), &mut self.cache, &mut read);
        let mut walk = Walk::default();
        while walk.frames.len() < DEEPEST {
            match frames.next() {
                Ok(Some(frame)) => walk.frames.push(frame.address_for_lookup()),
                Ok(None) => {
                    walk.end = "end".to_owned();
                    break;
                }
                Err(error) => {
                    // Without the address that some have in their words.
                    walk.end = error.to_string().split(" at 0x").next().unwrap_or_default().to_owned();
                    break;
                }
            }
        }
        Ok(walk)
    }
}

fn module(mapped: &MappedFile) -> Result<Module<Vec<u8>>> {
    let path = mapped.path.display();
    let bytes = fs::read(&mapped.path).with_context(|| format!("reading {path}"))?;
    let file = object::File::parse(&bytes[..]).with_context(|| format!("reading {path}"))?;
    let section = |name: &str| -> Option<(Range<u64>, Vec<u8>)> {
        let section = file.section_by_name(name)?;
        let data = section.uncompressed_data().ok()?.into_owned();
        Some((section.address()..section.address() + section.size(), data))
    };
    let range = |name| section(name).map(|(range, _)| range);
    let data = |name| section(name).map(|(_, data)| data);
    let sections = ExplicitModuleSectionInfo {
        text_svma: range(".text"),
        text: data(".text"),
        got_svma: range(".got"),
        eh_frame_svma: range(".eh_frame"),
        eh_frame: data(".eh_frame"),
        eh_frame_hdr_svma: range(".eh_frame_hdr"),
        eh_frame_hdr: data(".eh_frame_hdr"),
        debug_frame: data(".debug_frame"),
        ..ExplicitModuleSectionInfo::default()
    };
    Ok(Module::new(path.to_string(), mapped.start..mapped.end, mapped.bias, sections))
}
