//! libdw, the unwinder of elfutils: all registers and expressions. It runs in a process of its own (`libdw.c`).

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use profrec_format::RawStack;
use tempfile::TempDir;

use super::peer::{Peer, SpaceId, Walk};
use super::space::MappedFile;

/// libdw, in its process.
pub struct Libdw {
    child: Child,
    commands: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
    spaces: usize,
    _program: TempDir,
}

impl Libdw {
    /// Compiles the program, which needs libdw-dev, and starts it.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for a program")?;
        let (source, program) = (folder.path().join("libdw.c"), folder.path().join("libdw"));
        std::fs::write(&source, include_str!("libdw.c")).context("writing libdw.c")?;
        let compiled = Command::new("cc").arg("-O1").arg("-o").arg(&program).arg(&source).arg("-ldw").output();
        let compiled = compiled.context("cannot run cc")?;
        let errors = String::from_utf8_lossy(&compiled.stderr);
        ensure!(compiled.status.success(), "cannot compile with libdw (Debian: libdw-dev):\n{errors}");
        let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = BufWriter::new(child.stdin.take().context("no standard input")?);
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { child, commands, answers, spaces: 0, _program: folder })
    }
}

impl Peer for Libdw {
    fn name(&self) -> &'static str {
        "libdw"
    }

    fn add_space(&mut self, files: &[MappedFile]) -> Result<()> {
        writeln!(self.commands, "space")?;
        for file in files {
            writeln!(self.commands, "module {:x} {:x} {}", self.spaces, file.bias, file.path.display())?;
        }
        self.spaces += 1;
        Ok(())
    }

    fn walk(&mut self, space: SpaceId, stack: &RawStack) -> Result<Walk> {
        write!(self.commands, "stack {space:x}")?;
        stack.registers.iter().try_for_each(|register| write!(self.commands, " {register:x}"))?;
        writeln!(self.commands, " {:x}", stack.memory.len())?;
        for (start, bytes) in &stack.memory {
            writeln!(self.commands, "{start:x} {:x}", bytes.len())?;
            self.commands.write_all(bytes)?;
        }
        self.commands.flush()?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            let ended = self.child.wait().context("libdw's process")?;
            bail!("libdw's process has ended: {ended}");
        }
        parse(&answer).with_context(|| format!("libdw answered: {answer:?}"))
    }
}

impl Drop for Libdw {
    fn drop(&mut self) {
        // Where it has ended by itself there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(answer: &str) -> Option<Walk> {
    let (frames, end) = answer.trim_end().split_once("; ")?;
    let frame = |word: &str| match word.strip_suffix('!') {
        Some(interrupted) => u64::from_str_radix(interrupted, 16).ok(),
        // It follows any value that it finds, also 0.
        None => Some(u64::from_str_radix(word, 16).ok()?.wrapping_sub(1)),
    };
    Some(Walk { frames: frames.split_whitespace().map(frame).collect::<Option<_>>()?, end: end.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interrupted frame is where it says, one that made a call is in the call before that.
    #[test]
    fn answers_are_understood() {
        let walk = Walk { frames: vec![0x1000, 0x1fff], end: "no matching address range".to_owned() };
        assert_eq!(parse("1000! 2000 ; no matching address range\n"), Some(walk));
        assert_eq!(parse(""), None);
    }
}
