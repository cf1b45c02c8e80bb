//! What a process has mapped, as other unwinders want to be told: ELF files, and by how much their addresses are moved.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use profrec_format::ModuleKind;
use profrec_report::address_space::{AddressSpace, MappedRange};
use profrec_report::evidence::{Evidence, ModuleIndex};
use profrec_report::local_files::LocalFiles;
use profrec_report::modules::Modules;
use tempfile::TempDir;

/// An ELF file in an address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// The file.
    pub path: PathBuf,
    /// What its own addresses are moved by.
    pub bias: u64,
    /// First executable address.
    pub start: u64,
    /// One past the last one.
    pub end: u64,
}

/// The files of a recording's modules.
pub struct ModuleFiles {
    paths: Vec<Option<PathBuf>>,
    /// Where the executable segments of each module begin in its file.
    code: Vec<Vec<u64>>,
    /// Images that are in the recording alone.
    _images: TempDir,
}

impl ModuleFiles {
    /// Finds the local file of each module; an image that the recording holds becomes a file.
    pub fn of(evidence: &Evidence, local: &LocalFiles) -> Result<Self> {
        let images = tempfile::tempdir().context("a folder for images")?;
        let mut paths = Vec::new();
        for (index, module) in evidence.modules.iter().enumerate() {
            let found = local.module(index).and_then(|files| files.binary()).map(|file| file.path().to_owned());
            let image = module.image.as_ref().filter(|_| module.module.kind == ModuleKind::Vdso);
            paths.push(match image {
                Some(image) => {
                    let path = images.path().join(format!("image-{index}.so"));
                    std::fs::write(&path, image).with_context(|| format!("writing {}", path.display()))?;
                    Some(path)
                }
                None => found,
            });
        }
        let code = evidence.modules.iter().map(|module| {
            let loads = module.layout.iter().flat_map(|layout| &layout.loads);
            loads.filter(|load| load.executable).map(|load| load.offset).collect()
        });
        Ok(Self { paths, code: code.collect(), _images: images })
    }

    /// What addresses are moved by in a mapping. Its first page may hold the end of another segment of the file: what counts is the
    /// code.
    fn bias(&self, mapping: &MappedRange, modules: &Modules<'_>) -> u64 {
        let end = mapping.offset.saturating_add(mapping.end - mapping.start);
        let code = self.code.get(mapping.module as usize).into_iter().flatten();
        let inside = code.copied().find(|offset| (mapping.offset..end).contains(offset)).unwrap_or(mapping.offset);
        let address = mapping.start.wrapping_add(inside - mapping.offset);
        address.wrapping_sub(modules.address(mapping.module, inside))
    }

    fn path(&self, module: ModuleIndex) -> Option<&Path> {
        self.paths.get(module as usize)?.as_deref()
    }

    /// The files that are mapped in an address space, each once.
    pub fn mapped(&self, space: &AddressSpace, modules: &Modules<'_>) -> Vec<MappedFile> {
        let mut files: Vec<MappedFile> = Vec::new();
        for mapping in space.mappings() {
            let Some(path) = self.path(mapping.module) else { continue };
            let bias = self.bias(mapping, modules);
            match files.iter_mut().find(|file| file.path == path && file.bias == bias) {
                Some(file) => file.end = mapping.end,
                None => files.push(MappedFile { path: path.to_owned(), bias, start: mapping.start, end: mapping.end }),
            }
        }
        files
    }
}
