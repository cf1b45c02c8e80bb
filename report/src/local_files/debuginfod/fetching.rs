//! The requests of one report, a few at once: which files, from which server, until all time is used up.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ureq::Agent;

use super::claims::Claims;
use super::client::{self, Bounds, Refusal};
use super::progress::Told;
use super::{Debuginfod, Kind, Limits, State, requested};
use crate::evidence::ModuleEvidence;
use crate::local_files::attempt::{Outcome, Step};
use crate::local_files::module_files::{self, ModuleFiles};

/// Requests that have a common end.
pub(in crate::local_files) struct Fetching<'a> {
    debuginfod: &'a Debuginfod,
    servers: Vec<Server<'a>>,
    agent: OnceLock<Agent>,
    deadline: Instant,
    claims: Claims,
}

/// A server; one that did not answer once is not asked again.
struct Server<'a> {
    url: &'a str,
    /// Why it is not asked again.
    dead: Mutex<Option<String>>,
}

impl Server<'_> {
    fn dead(&self) -> Option<String> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn give_up(&self, why: String) {
        *self.dead.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

/// What a module's file is wanted for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    build_id: &'a [u8],
    kind: Kind,
    /// How the module is called when progress is told.
    name: &'a str,
}

/// The build-id that servers are asked with, if the module is one that they may have.
fn build_id(module: &ModuleEvidence) -> Option<&[u8]> {
    let build_id = &module.module.build_id;
    (module.module.kind == profrec_format::ModuleKind::File && !build_id.is_empty()).then_some(build_id)
}

/// A time that is never over, where the limit is beyond what a clock can tell.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

impl<'a> Fetching<'a> {
    pub(super) fn new(debuginfod: &'a Debuginfod) -> Self {
        let urls: &[String] = match &debuginfod.state {
            State::Ask(urls) => urls,
            State::Off(_) => &[],
        };
        Self {
            debuginfod,
            servers: urls.iter().map(|url| Server { url, dead: Mutex::default() }).collect(),
            agent: OnceLock::new(),
            deadline: Instant::now() + debuginfod.limits.time.min(FOR_EVER),
            claims: Claims::default(),
        }
    }

    /// Fetches what a module lacks: debug info, or at least the program itself.
    pub(in crate::local_files) fn complete(&self, files: &mut ModuleFiles, module: &ModuleEvidence) {
        let Some(build_id) = build_id(module) else { return };
        let is_complete = files.debug_info().is_some() && files.missing_alt_link().is_none();
        if let (State::Off(why), false) = (&self.debuginfod.state, is_complete) {
            return files.note(Step::Debuginfod, "", Outcome::LeftOut((*why).to_owned()));
        }
        let name = &module.module.path;
        if files.debug_info().is_none() {
            self.fetch(Wanted { build_id, kind: Kind::DebugInfo, name }, files, ModuleFiles::attempt);
        }
        if files.binary().is_none() && files.symbols().is_none() {
            self.fetch(Wanted { build_id, kind: Kind::Executable, name }, files, ModuleFiles::attempt);
        }
    }

    /// Fetches what the debug info of a module shares with others.
    pub(in crate::local_files) fn complete_shared(&self, files: &mut ModuleFiles, module: &ModuleEvidence) {
        if let (State::Ask(_), Some(_)) = (&self.debuginfod.state, build_id(module))
            && let Some(link) = files.missing_alt_link().cloned()
        {
            let name = &module.module.path;
            let wanted = Wanted { build_id: &link.build_id, kind: Kind::DebugInfo, name };
            self.fetch(wanted, files, ModuleFiles::attempt_shared);
        }
    }

    /// Takes what has come for another module, or asks one server after the other; `take` judges the file.
    fn fetch(
        &self,
        wanted: Wanted<'_>,
        files: &mut ModuleFiles,
        take: impl Fn(&mut ModuleFiles, Step, &Path, &[u8]) -> bool,
    ) {
        let Some(digits) = requested(wanted.build_id) else {
            return files.note(Step::Debuginfod, "", Outcome::LeftOut("no build-id has this length".to_owned()));
        };
        let Some(cache) = &self.debuginfod.cache else {
            let why = "there is no folder to keep files in: HOME is not set".to_owned();
            return files.note(Step::Debuginfod, "", Outcome::LeftOut(why));
        };
        // What another module is waiting for comes once.
        let _claim = self.claims.take(&digits, wanted.kind);
        if let Some(path) = cache.file(&digits, wanted.kind)
            && take(files, Step::DebuginfodCache, &path, wanted.build_id)
        {
            return;
        }
        if cache.is_known_to_be_missing(&digits, wanted.kind) {
            let place = format!("{}/{}", digits, wanted.kind.name());
            let why = "no server had it when it was last asked for, a short while ago".to_owned();
            return files.note(Step::DebuginfodCache, place, Outcome::LeftOut(why));
        }
        let mut nobody_has_it = !self.servers.is_empty();
        for index in 0..self.servers.len() {
            let url = format!("{}/buildid/{digits}/{}", self.servers[index].url, wanted.kind.name());
            match self.ask(index, &url, &digits, wanted) {
                Ok((path, length)) => {
                    files.note(Step::Debuginfod, url, Outcome::Fetched(length));
                    take(files, Step::DebuginfodCache, &path, wanted.build_id);
                    return;
                }
                Err(outcome) => {
                    nobody_has_it &= outcome == Outcome::NoSuchFile;
                    files.note(Step::Debuginfod, url, outcome);
                }
            }
        }
        if nobody_has_it {
            cache.remember_missing(&digits, wanted.kind);
        }
    }

    /// Asks one server, and keeps the file only if it is the one that was asked for.
    fn ask(&self, index: usize, url: &str, digits: &str, wanted: Wanted<'_>) -> Result<(PathBuf, u64), Outcome> {
        let Some(cache) = &self.debuginfod.cache else { return Err(Outcome::NoSuchFile) };
        if let Some(why) = self.servers[index].dead() {
            return Err(Outcome::LeftOut(why));
        }
        let kept = |error: std::io::Error| Outcome::Unreadable(format!("it cannot be kept: {error}"));
        let (unfinished, file) = cache.begin(digits, wanted.kind).map_err(kept)?;
        let what = format!("{} of {} from {}", wanted.kind.name(), wanted.name, self.servers[index].url);
        let mut told = Told::new(file, &what);
        let length = self.download(url, &mut told).map_err(|refusal| self.outcome(index, refusal))?;
        told.flush().map_err(kept)?;
        let (_, contents) = module_files::open(unfinished.path())?;
        if contents.identity != wanted.build_id {
            return Err(Outcome::OtherBuild(contents.identity));
        }
        told.finish().map_err(kept)?;
        let path = unfinished.finish().map_err(kept)?;
        // A folder that cannot be tidied up takes room, and harms nothing.
        let _ = cache.tidy_up(&path);
        Ok((path, length))
    }

    fn download(&self, url: &str, into: &mut Told) -> Result<u64, Refusal> {
        let Limits { file_size: size, patience, .. } = self.debuginfod.limits;
        let urls: &[String] = if let State::Ask(urls) = &self.debuginfod.state { urls } else { &[] };
        let agent = self.agent.get_or_init(|| client::agent(urls));
        client::get(agent, url, Bounds { size, patience, deadline: self.deadline }, into)
    }

    /// What a refusal means for this file, and for the server.
    fn outcome(&self, index: usize, refusal: Refusal) -> Outcome {
        match refusal {
            Refusal::NotFound => Outcome::NoSuchFile,
            Refusal::OutOfTime => Outcome::LeftOut("the time for all files is over (DEBUGINFOD_MAXTIME)".to_owned()),
            Refusal::TooLarge => {
                let limit = self.debuginfod.limits.file_size;
                Outcome::LeftOut(format!("larger than {limit} bytes (DEBUGINFOD_MAXSIZE)"))
            }
            Refusal::Other(why) => Outcome::Unreadable(why),
            Refusal::Dead(why) => {
                self.servers[index].give_up(format!("the server was given up: it {why}"));
                Outcome::Unreadable(why)
            }
        }
    }
}
