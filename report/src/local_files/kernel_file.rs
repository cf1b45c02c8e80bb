//! The kernel's own file, with its debug info. A recording does not hold the kernel's build-id, so the file proves itself
//! otherwise: by its banner, which tells the release and the build, and by its functions, which must all lie the same
//! distance from where they were recorded (that distance is chosen anew at each boot).

use std::path::PathBuf;

use foldhash::HashMap;
use object::{Object, ObjectSection, ObjectSymbol};
use profrec_format::{Header, KernelSymbol};

use super::attempt::{Attempt, Outcome, Parts, Step};
use super::mapped::MappedFile;
use super::{Sources, module_files};

/// How many functions at least must agree for a file that has no banner.
const ENOUGH: usize = 16;
/// How far behind its start the banner tells the build.
const BANNER: usize = 512;

/// The file of the recorded kernel.
#[derive(Debug)]
pub struct KernelFile {
    /// The file.
    pub file: MappedFile,
    /// Its build-id, or its fingerprint when it has none.
    pub identity: Vec<u8>,
    /// What the kernel's addresses are more than those in the file.
    pub slide: u64,
}

/// Looks for the file of the recorded kernel.
pub(super) fn find(symbols: &[KernelSymbol], header: &Header, sources: &Sources) -> (Option<KernelFile>, Vec<Attempt>) {
    let mut attempts = Vec::new();
    let mut note = |place: String, outcome| attempts.push(Attempt { step: Step::Vmlinux, place, outcome });
    if !is_file_name(&header.kernel) {
        note(String::new(), Outcome::LeftOut("the kernel's release is not known".to_owned()));
        return (None, attempts);
    }
    for path in candidates(&header.kernel, sources) {
        let place = path.display().to_string();
        let judged = module_files::open(&path).and_then(|(file, contents)| {
            let parsed = object::File::parse(file.bytes()).map_err(|error| Outcome::NotElf(error.to_string()))?;
            let slide = prove(&parsed, symbols, header)?;
            if !contents.debug_info {
                return Err(Outcome::NothingNew);
            }
            Ok(KernelFile { file, identity: contents.identity, slide })
        });
        match judged {
            Ok(found) => {
                note(place, Outcome::Taken(Parts { debug_info: true, ..Parts::default() }));
                return (Some(found), attempts);
            }
            Err(outcome) => note(place, outcome),
        }
    }
    (None, attempts)
}

/// A release becomes part of paths: it must not lead anywhere.
fn is_file_name(release: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-~".contains(&byte);
    (1..=128).contains(&release.len()) && !release.starts_with('.') && release.bytes().all(is_plain)
}

/// Where distributions put it, and what may be in a folder given with `--symbols`.
fn candidates(release: &str, sources: &Sources) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for folder in &sources.folders {
        let names = ["vmlinux".to_owned(), format!("vmlinux-{release}")];
        paths.extend(names.iter().map(|name| folder.join(name)));
        for below in ["", "usr/lib/debug"] {
            let root = folder.join(below);
            paths.extend([
                root.join(format!("boot/vmlinux-{release}")),
                root.join(format!("lib/modules/{release}/vmlinux")),
            ]);
        }
    }
    let system = &sources.system_debug;
    paths.extend([
        system.join(format!("boot/vmlinux-{release}")),
        system.join(format!("lib/modules/{release}/vmlinux")),
    ]);
    paths
}

/// What the recorded addresses are more than those in the file, if it is the recorded kernel's.
fn prove(file: &object::File<'_>, symbols: &[KernelSymbol], header: &Header) -> Result<u64, Outcome> {
    let has_banner = require_banner(file, header)?;
    let slides = slides(file, symbols);
    let Some((&first, others)) = slides.split_first() else {
        return Err(Outcome::OtherKernel("it has none of the functions that were recorded"));
    };
    if others.iter().any(|slide| *slide != first) {
        return Err(Outcome::OtherKernel("its functions lie elsewhere than those that were recorded"));
    }
    if !has_banner && slides.len() < ENOUGH {
        return Err(Outcome::OtherKernel("it has no banner, and too few functions were recorded to tell"));
    }
    Ok(first)
}

/// Whether the file has a banner, which must be that of the recorded kernel.
fn require_banner(file: &object::File<'_>, header: &Header) -> Result<bool, Outcome> {
    let data = file.section_by_name(".rodata").and_then(|section| section.data().ok()).unwrap_or_default();
    if data.is_empty() {
        return Ok(false);
    }
    let start = format!("Linux version {} ", header.kernel);
    let build = header.machine.kernel_build.as_bytes();
    let is_ours = memchr::memmem::find_iter(data, &start).any(|at| {
        let banner = &data[at..data.len().min(at + BANNER)];
        build.is_empty() || memchr::memmem::find(banner, build).is_some()
    });
    if is_ours { Ok(true) } else { Err(Outcome::OtherKernel("its banner is not that of the recorded kernel")) }
}

/// For each recorded function of the kernel itself, whose name is one of its kind, how far it lies from its place in the
/// file.
fn slides(file: &object::File<'_>, symbols: &[KernelSymbol]) -> Vec<u64> {
    // A name's address as recorded and in the file; none for names that several functions have.
    let mut places: HashMap<&str, (Option<u64>, Option<u64>)> = HashMap::default();
    for symbol in symbols.iter().filter(|symbol| symbol.module.is_empty()) {
        let address = Some(symbol.address);
        places.entry(&symbol.name).and_modify(|place| place.0 = None).or_insert((address, Some(u64::MAX)));
    }
    for symbol in file.symbols() {
        let place = symbol.name().ok().and_then(|name| places.get_mut(name));
        if let Some((_, in_file)) = place {
            *in_file = if *in_file == Some(u64::MAX) { Some(symbol.address()) } else { None };
        }
    }
    let known = places.into_values().filter_map(|(recorded, in_file)| Some((recorded?, in_file?)));
    known
        .filter(|(_, in_file)| *in_file != u64::MAX)
        .map(|(recorded, in_file)| recorded.wrapping_sub(in_file))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A release that could lead to another folder is no part of a path.
    #[test]
    fn a_release_is_a_name() {
        assert!(is_file_name("6.1.0-28-cloud-amd64") && is_file_name("6.18.44+"));
        assert!(["", "..", ".hidden", "6.1/../..", "a b", "a\0"].iter().all(|release| !is_file_name(release)));
    }
}
