//! Has JVMs write their perf maps, which they do only when they are asked: `jcmd PID Compiler.perfmap`. This talks to the target,
//! so it is done only when the command line says so. `jcmd` sends it SIGQUIT, upon which a JVM opens a socket, and runs as the
//! target's own user: it is never more than the target that it talks to.
//!
//! To become that user takes rights that the recorder gives up once it is attached. So a process is started before, which waits to
//! be told whom to ask, and ends with the recorder.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::target::JitTarget;
use crate::proc_maps;

/// How long all JVMs together may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What `jcmd` says that is worth reading.
const ANSWER: u64 = 4096;

/// A process that keeps the rights that asking takes.
pub(crate) struct JvmAsker(Child);

impl JvmAsker {
    /// Starts it. A Ctrl-C for the recorder is not for it.
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("ask-jvms").stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        Ok(Self(command.spawn().context("starting the process that asks JVMs (--jvm-perfmap)")?))
    }

    /// Has it ask the JVMs among these processes, and tells how it went: empty, or what is wrong.
    pub(crate) fn ask(mut self, pids: &[u32]) -> Vec<(u32, String)> {
        let lines: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
        let mut said = String::new();
        let asked = self.0.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(lines.as_bytes()));
        let told = self.0.stdout.take().map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut said));
        if let Err(error) = asked.and(told).and(self.0.wait().map(|_| 0)) {
            return pids.iter().map(|pid| (*pid, format!("the process that asks JVMs has failed: {error}"))).collect();
        }
        let outcome = |line: &str| {
            let (pid, trouble) = line.split_once(' ')?;
            Some((pid.parse().ok()?, trouble.to_owned()))
        };
        said.lines().filter_map(outcome).collect()
    }
}

/// What that process does: it reads process ids, asks, and writes a line for each JVM.
pub(crate) fn serve() -> Result<()> {
    let mut lines = String::new();
    io::stdin().read_to_string(&mut lines).context("reading whom to ask")?;
    for (pid, outcome) in write_perf_maps(lines.lines().filter_map(|line| line.parse().ok())) {
        let trouble = outcome.map_or_else(|error| format!("{error:#}"), |()| String::new());
        let trouble = trouble.replace(char::is_control, " ");
        writeln!(io::stdout(), "{pid} {trouble}").context("telling the recorder")?;
    }
    Ok(())
}

/// Asks those of the processes that are JVMs, one after the other, and tells how it went.
fn write_perf_maps(pids: impl Iterator<Item = u32>) -> Vec<(u32, Result<()>)> {
    let deadline = Instant::now() + PATIENCE;
    pids.filter(|pid| is_jvm(*pid)).map(|pid| (pid, write_perf_map(pid, deadline))).collect()
}

fn is_jvm(pid: u32) -> bool {
    let mut found = false;
    let looked = proc_maps::each_executable_mapping(pid, |line| {
        found = line.path.trim_end_matches(" (deleted)").ends_with("/libjvm.so");
        !found
    });
    looked.is_ok() && found
}

fn write_perf_map(pid: u32, deadline: Instant) -> Result<()> {
    if !handles_quit(pid) {
        bail!("it was not asked for its perf map: it does not handle SIGQUIT (-Xrs), which would end it");
    }
    let mut child = jcmd(&JitTarget::open(pid))?.spawn().context("its perf map is not written: jcmd cannot be run")?;
    let status = loop {
        if let Some(status) = child.try_wait().context("waiting for jcmd")? {
            break status;
        }
        if Instant::now() >= deadline {
            // It is our own child, and has not been waited for.
            let _ended = child.kill().and_then(|()| child.wait());
            bail!("it did not write its perf map: no answer to jcmd in {} s", PATIENCE.as_secs());
        }
        sleep(Duration::from_millis(20));
    };
    if status.success() {
        Ok(())
    } else {
        Err(anyhow!("it did not write its perf map: jcmd says: {}", said(&mut child)))
    }
}

/// `jcmd` as the user of the target, with nothing of our own environment but the way to programs.
fn jcmd(target: &JitTarget) -> Result<Command> {
    let mut command = Command::new("jcmd");
    command.arg(target.pid.to_string()).arg("Compiler.perfmap");
    command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path))).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (own, user) = (rustix::process::geteuid().as_raw(), target.users.first().copied());
    match user {
        Some(user) if user == own => {}
        Some(user) if own == 0 => drop(command.uid(user).gid(target.group)),
        _ => bail!("its perf map is not written: only its own user and root may ask for it"),
    }
    Ok(command)
}

/// Whether SIGQUIT, by which a JVM is told to listen, has a handler there. Else it would end the process.
fn handles_quit(pid: u32) -> bool {
    const SIGQUIT: u64 = 1 << (3 - 1);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & SIGQUIT != 0)
}

/// The last line that tells something.
fn said(child: &mut Child) -> String {
    let mut text = String::new();
    let pipes: [Option<Box<dyn Read>>; 2] =
        [child.stdout.take().map(|pipe| Box::new(pipe) as _), child.stderr.take().map(|pipe| Box::new(pipe) as _)];
    for pipe in pipes.into_iter().flatten() {
        let mut bytes = Vec::new();
        let _as_far_as_it_goes = pipe.take(ANSWER).read_to_end(&mut bytes);
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    if text.contains("Unknown diagnostic command") {
        return "the JVM is older than 17 and cannot".to_owned();
    }
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that is no JVM is not asked: SIGQUIT would end it.
    #[test]
    fn others_are_not_asked() {
        assert!(write_perf_maps([std::process::id(), 0].into_iter()).is_empty());
        let child = Command::new("sleep").arg("60").spawn();
        let outcome = child.map(|mut child| {
            let outcome = write_perf_map(child.id(), Instant::now()).map_err(|error| error.to_string());
            let running = child.try_wait();
            let _ended = child.kill().and_then(|()| child.wait());
            (outcome, running)
        });
        assert!(matches!(outcome, Ok((Err(why), Ok(None))) if why.contains("SIGQUIT")));
    }
}
