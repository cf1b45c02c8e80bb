//! What the tests run: the product's two programs, and the fixtures, built by the compiler at hand.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The recorder.
pub(crate) fn profrec() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_profrec"))
}

/// The analyzer. It belongs to another package; `cargo test` builds it for that package's tests.
pub(crate) fn profrec_report() -> PathBuf {
    let path = profrec().with_file_name("profrec-report");
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A fixture program, by its name.
pub(crate) fn fixture(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| make("programs"));
    let path = fixtures().join(name);
    assert!(path.exists(), "fixtures/Makefile does not build {name}");
    path
}

/// A fixture program of a compiler that is not everywhere; `None` where it is not.
pub(crate) fn fixture_of(compiler: &str, name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    if !std::env::split_paths(&paths).any(|folder| folder.join(compiler).is_file()) {
        return None;
    }
    let path = fixtures().join(name);
    make(path.to_str().unwrap());
    Some(path)
}

/// Where fixture programs are.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("fixtures")
}

/// Builds something that `fixtures/Makefile` knows.
fn make(what: &str) {
    let mut make = Command::new("make");
    make.args(["--silent", what, &format!("OUT={}", fixtures().display())]);
    // When `make test` runs us, its flags are not for this make.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").current_dir(repository().join("fixtures"));
    succeed(&mut make);
}

/// Copies a program. Another process does it: one of ours that is just being started would keep the copy open for
/// writing for a moment, and what is open for writing cannot be executed ("text file busy").
pub(crate) fn copy_program(from: &Path, to: &Path) {
    succeed(Command::new("cp").arg(from).arg(to));
}

/// Runs a command to its end; fails the test when the command fails.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, stderr(&output));
    output
}

/// Runs a command to its end, whatever comes of it.
pub(crate) fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Waits until there is a file.
pub(crate) fn wait_for(path: &Path) {
    for _ in 0..6_000 {
        if path.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} does not appear", path.display());
}

/// What a command printed.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command complained about.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A command in the background that is ended with the test.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it, with what it prints kept.
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Starts it with what it prints thrown away, for what prints without end.
    pub(crate) fn quiet(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Its process id, as text.
    pub(crate) fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; fails the test when that takes longer.
    pub(crate) fn finish_within(mut self, limit: Duration) -> Output {
        let start = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < limit, "still running after {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut output = Output { status: self.0.wait().unwrap(), stdout: Vec::new(), stderr: Vec::new() };
        if let Some(pipe) = &mut self.0.stdout {
            std::io::Read::read_to_end(pipe, &mut output.stdout).unwrap();
        }
        if let Some(pipe) = &mut self.0.stderr {
            std::io::Read::read_to_end(pipe, &mut output.stderr).unwrap();
        }
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and that is well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
