//! The fixture program, as it is recorded, and what is found of its names.

use std::ops::Range;
use std::path::{Path, PathBuf};

use profrec_format::{Layout, Module, Symbol};
use profrec_report::evidence::{Evidence, ModuleEvidence};
use profrec_report::local_files::{Attempt, LocalFiles, MappedFile, Outcome, Sources, Step};
use profrec_report::stacks::Location;
use profrec_report::symbols::{Names, Wanted};

use super::toolchain::run;

/// A program in a folder of its own.
pub(crate) struct Program {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) identity: Vec<u8>,
    pub(crate) has_build_id: bool,
    /// What it is called in the recording: a path that is nowhere on this machine.
    pub(crate) recorded: String,
    pub(crate) hidden: Range<u64>,
    pub(crate) exported: Range<u64>,
}

/// What was found.
pub(crate) struct Found {
    pub(crate) names: Names,
    pub(crate) attempts: Vec<Attempt>,
}

impl Program {
    /// The usual program: position-independent, with DWARF and a build-id.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// Built with more options; the binary is `prog`.
    pub(crate) fn with(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/programs/sources.c");
        std::fs::copy(source, folder.path().join("sources.c")).unwrap();
        let line = format!("gcc -g -O2 -rdynamic -Wl,--build-id {options} -o prog sources.c");
        run(folder.path(), line.replace("  ", " ").trim());
        Self::of(folder)
    }

    /// The binary `prog` of a folder, which still has its symbols.
    pub(crate) fn of(folder: tempfile::TempDir) -> Self {
        let binary = folder.path().join("prog");
        let contents = MappedFile::open(&binary).unwrap().contents().unwrap();
        let extents = run(folder.path(), "nm -S prog");
        let extent = |name: &str| {
            let line = extents.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
            let numbers: Vec<u64> = line.split(' ').take(2).map(|n| u64::from_str_radix(n, 16).unwrap()).collect();
            numbers[0]..numbers[0] + numbers[1]
        };
        Self {
            identity: contents.identity,
            has_build_id: contents.has_build_id,
            recorded: "/nonexistent/prog".to_owned(),
            hidden: extent("hidden"),
            exported: extent("exported"),
            folder,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn run(&self, line: &str) -> String {
        run(self.folder.path(), line)
    }

    /// The program is recorded at this path, where it still is.
    pub(crate) fn recorded_at(mut self, name: &str) -> Self {
        self.recorded = self.path(name).to_str().unwrap().to_owned();
        self
    }

    /// Moves a file to where a tree of debug files has it.
    pub(crate) fn move_to_tree(&self, name: &str, root: &Path) {
        let hex = profrec_report::local_files::hex(&self.identity);
        let folder = root.join(".build-id").join(&hex[..2]);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::rename(self.path(name), folder.join(format!("{}.debug", &hex[2..]))).unwrap();
    }

    /// What the recording says of the program.
    pub(crate) fn evidence(&self) -> ModuleEvidence {
        let mut module = Module { id: 1, path: self.recorded.clone(), ..Module::default() };
        let mut layout = Layout { module: 1, ..Layout::default() };
        match self.has_build_id {
            true => module.build_id.clone_from(&self.identity),
            false => layout.fingerprint.clone_from(&self.identity),
        }
        ModuleEvidence { module, layout: Some(layout), ..ModuleEvidence::default() }
    }

    /// The names of all its addresses from these sources.
    pub(crate) fn find(&self, sources: &Sources) -> Found {
        self.find_with(self.evidence(), sources)
    }

    /// The same with more in the recording.
    pub(crate) fn find_with(&self, module: ModuleEvidence, sources: &Sources) -> Found {
        let evidence = Evidence { modules: vec![module], ..Evidence::default() };
        let mut files = LocalFiles::find(&evidence, sources);
        files.fetch(&evidence, &[1], sources);
        let names = Names::find(&self.locations(), &evidence, &files, &Wanted::all());
        Found { names, attempts: files.module(0).unwrap().attempts().to_vec() }
    }

    fn locations(&self) -> Vec<Location> {
        let addresses = self.hidden.clone().chain(self.exported.clone());
        addresses.map(|address| Location::Module { module: 0, address }).collect()
    }

    /// Its symbols as a recorder embeds them.
    pub(crate) fn symbols(&self) -> Vec<Symbol> {
        [("hidden", &self.hidden), ("exported", &self.exported)]
            .map(|(name, extent)| Symbol {
                address: extent.start,
                size: extent.end - extent.start,
                name: name.to_owned(),
            })
            .to_vec()
    }
}

impl Found {
    /// Distinct names, sorted.
    pub(crate) fn functions(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.names.functions.iter().map(|function| &*function.name).collect();
        names.sort_unstable();
        names
    }

    /// Everything that DWARF tells is there, and right: `inlined` is inside of `hidden`, with its line.
    pub(crate) fn require_debug_info(&self) {
        assert_eq!(self.functions(), ["exported", "hidden", "inlined"], "{:#?}", self.attempts);
        let name = |frame: &profrec_report::symbols::NamedFrame| &*self.names.functions[frame.function as usize].name;
        let inlined = self.names.locations.iter().find(|frames| frames.len() == 2).unwrap();
        assert_eq!([name(&inlined[0]), name(&inlined[1])], ["inlined", "hidden"]);
        assert!(inlined[0].file.as_deref().unwrap().ends_with("sources.c"));
        assert!((7..=12).contains(&inlined[0].line.unwrap()), "{inlined:?}");
    }

    /// What came of a step.
    pub(crate) fn outcomes(&self, step: Step) -> Vec<&Outcome> {
        self.attempts.iter().filter(|attempt| attempt.step == step).map(|attempt| &attempt.outcome).collect()
    }

    /// A step was what gave a file.
    pub(crate) fn require_taken(&self, step: Step) {
        let taken = self.outcomes(step).iter().any(|outcome| matches!(outcome, Outcome::Taken(_)));
        assert!(taken, "{step:?}: {:#?}", self.attempts);
    }

    /// Where names come from.
    pub(crate) fn source(&self) -> &'static str {
        self.names.modules[0].as_ref().unwrap().source.name()
    }
}

/// Only these folders, as `--symbols` gives them; nothing of this machine.
pub(crate) fn folders(folders: &[&Path]) -> Sources {
    let folders = folders.iter().map(|folder| folder.to_path_buf()).collect();
    Sources { folders, system_debug: "/nonexistent".into(), ..Sources::default() }
}
