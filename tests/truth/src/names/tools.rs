//! The tools that are asked: ours, llvm-symbolizer and eu-addr2line.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context, Result, anyhow, ensure};
use object::Object;
use profrec_format::{Module, ModuleKind};
use profrec_report::evidence::{Evidence, ModuleEvidence};
use profrec_report::local_files::{LocalFiles, Sources};
use profrec_report::stacks::Location;
use profrec_report::symbols::{NamedFrame, Names, Wanted};

use super::Subject;
use super::chain::{Chain, Frame, Frames, known};

/// A tool that names addresses of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// llvm-symbolizer
    Llvm,
    /// eu-addr2line
    Elfutils,
}

impl Tool {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llvm => "llvm-symbolizer",
            Self::Elfutils => "eu-addr2line",
        }
    }

    /// Whether it can be run.
    pub fn is_there(self) -> bool {
        Command::new(self.name()).arg("--version").output().is_ok()
    }

    /// What it says about each address. Several processes work on it, for eu-addr2line takes milliseconds for each.
    /// What is in the folder of kept answers is not asked again.
    pub fn ask(self, subject: &Subject, addresses: &[u64], kept: Option<&Path>) -> Result<Vec<Chain>> {
        let path = match self {
            // It does not follow `.gnu_debugaltlink`, and takes debug information alone from a debug file.
            Self::Llvm => subject.whole.as_deref().unwrap_or(&subject.path),
            Self::Elfutils => &subject.path,
        };
        let processes = thread::available_parallelism().map_or(1, NonZero::get);
        let parts: Vec<_> = addresses.chunks(addresses.len().div_ceil(processes).max(1)).collect();
        let chains = thread::scope(|scope| {
            let asked: Vec<_> = parts.iter().map(|part| scope.spawn(|| self.ask_one(path, part, kept))).collect();
            let join =
                |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")));
            asked.into_iter().map(join).collect::<Result<Vec<_>>>()
        });
        Ok(chains?.concat())
    }

    fn ask_one(self, path: &Path, addresses: &[u64], kept: Option<&Path>) -> Result<Vec<Chain>> {
        let text = match kept.map(|folder| self.kept(folder, path, addresses)).transpose()? {
            Some(file) if file.exists() => std::fs::read_to_string(file).context("reading kept answers")?,
            file => {
                let text = self.run(path, addresses)?;
                file.map(|file| std::fs::write(file, &text)).transpose().context("keeping answers")?;
                text
            }
        };
        let chains = match self {
            Self::Llvm => llvm_chains(&text),
            Self::Elfutils => elfutils_chains(&text),
        };
        let (answers, asked) = (chains.len(), addresses.len());
        ensure!(answers == asked, "{}: {answers} answers to {asked} questions", self.name());
        Ok(chains)
    }

    /// Where answers are kept: under what decides them.
    fn kept(self, folder: &Path, path: &Path, addresses: &[u64]) -> Result<PathBuf> {
        let mut hasher = DefaultHasher::new();
        (std::fs::read(path).with_context(|| path.display().to_string())?, addresses).hash(&mut hasher);
        Ok(folder.join(format!("{}-{:016x}", self.name(), hasher.finish())))
    }

    fn run(self, path: &Path, addresses: &[u64]) -> Result<String> {
        let mut command = Command::new(self.name());
        match self {
            Self::Llvm => command.args(["--inlines", "--no-demangle", "--obj"]).arg(path),
            Self::Elfutils => command.args(["-i", "-f", "-a", "-e"]).arg(path),
        };
        // A name is what the files say, and nothing is fetched for it.
        let output = command.env_remove("DEBUGINFOD_URLS").stdin(list(addresses)?).output();
        let output = output.with_context(|| format!("cannot run {}", self.name()))?;
        ensure!(output.status.success(), "{}: {}", self.name(), String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The addresses as a file, a line each.
fn list(addresses: &[u64]) -> Result<File> {
    let mut file = tempfile::NamedTempFile::new().context("a file for addresses")?;
    let lines: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    file.write_all(lines.as_bytes()).context("writing addresses")?;
    file.reopen().context("reading addresses")
}

/// Paragraphs of two lines a frame, which end with an empty line.
fn llvm_chains(text: &str) -> Vec<Chain> {
    let mut frames = Frames::default();
    let mut chains = vec![Chain::new()];
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            chains.push(Chain::new());
        } else if let (Some(chain), Some(place)) = (chains.last_mut(), lines.next()) {
            chain.push(frames.printed(line, place));
        }
    }
    // What follows the last empty line.
    chains.pop();
    chains.into_iter().map(known).collect()
}

/// An address, then two lines a frame. A name may be followed by `inlined at` or `inlined from` and where.
fn elfutils_chains(text: &str) -> Vec<Chain> {
    let mut frames = Frames::default();
    let mut chains: Vec<Chain> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            chains.push(Chain::new());
        } else if let (Some(chain), Some(place)) = (chains.last_mut(), lines.next()) {
            let name = line.split(" inlined ").next().unwrap_or_default();
            chain.push(frames.printed(name, place));
        }
    }
    chains.into_iter().map(known).collect()
}

/// profrec, with the files that it finds by itself and below some folders.
pub struct Ours {
    evidence: Evidence,
    files: LocalFiles,
}

impl Ours {
    /// Finds the files of an ELF file, as a report does for a recorded module.
    pub fn find(path: &Path, bytes: &[u8], folders: &[PathBuf]) -> Result<Self> {
        let path = path.canonicalize().with_context(|| format!("there is no {}", path.display()))?;
        let build_id = object::File::parse(bytes)?.build_id()?.unwrap_or_default().to_vec();
        ensure!(!build_id.is_empty(), "{} has no build-id", path.display());
        let module = Module { id: 0, kind: ModuleKind::File, path: path.to_string_lossy().into_owned(), build_id };
        let module = ModuleEvidence { module, ..ModuleEvidence::default() };
        let evidence = Evidence { modules: vec![module], ..Evidence::default() };
        let files = LocalFiles::find(&evidence, &Sources { folders: folders.to_vec(), ..Sources::default() });
        Ok(Self { evidence, files })
    }

    /// The file with the symbol table, where it is another.
    pub fn symbols(&self) -> &[u8] {
        let file = self.files.module(0).and_then(|files| files.symbols());
        file.map(|file| file.bytes()).unwrap_or_default()
    }

    /// The file with debug information; empty without one.
    pub fn debug_info(&self) -> &[u8] {
        let file = self.files.module(0).and_then(|files| files.debug_info());
        file.map(|file| file.bytes()).unwrap_or_default()
    }

    /// What it says about each address.
    pub fn ask(&self, addresses: &[u64]) -> Vec<Chain> {
        let locations: Vec<_> = addresses.iter().map(|&address| Location::Module { module: 0, address }).collect();
        let names = Names::find(&locations, &self.evidence, &self.files, &Wanted::all());
        let mut paths = Frames::default();
        let mut frame = |frame: &NamedFrame| Frame {
            name: names
                .functions
                .get(frame.function as usize)
                .map(|function| function.name.to_string())
                .unwrap_or_default(),
            file: paths.file(frame.file.as_deref().unwrap_or_default()),
            line: frame.line.unwrap_or_default(),
        };
        let chains = names.locations.iter().zip(&names.unnamed).map(|(frames, unnamed)| match unnamed {
            Some(_) => Chain::new(),
            None => frames.iter().map(&mut frame).collect(),
        });
        chains.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str, file: &str, line: u32) -> Frame {
        Frame { name: name.into(), file: file.into(), line }
    }

    /// What both tools print for an inlined function, and for an address of which nothing is known.
    #[test]
    fn output_is_understood() {
        let chain = vec![frame("f", "/a.c", 2), frame("main", "/a.c", 4)];
        let llvm = "f\n/a.c:2:71\nmain\n/a.c:4:33\n\n??\n??:0:0\n\n";
        assert_eq!(llvm_chains(llvm), [chain.clone(), Chain::new()]);
        let elfutils =
            "0x0000000000001059\nf inlined at /a.c:4:33 in main\n/a.c:2:71\nmain\n/a.c:4:33\n0x00000000\n??\n??:0\n";
        assert_eq!(elfutils_chains(elfutils), [chain, Chain::new()]);
    }
}
