//! Debug files from debuginfod servers. Only the user's environment says which servers are asked; a recording only
//! says for what, and only by the hexadecimal digits of a build-id. What is fetched is kept where debuginfod's other clients
//! keep it, so that gdb finds it too.

mod cache;
mod claims;
mod client;
mod fetching;
mod progress;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::hex;
use cache::Cache;
pub(super) use fetching::Fetching;

/// What a server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The file with DWARF and the symbol table.
    DebugInfo,
    /// The program or library itself.
    Executable,
}

impl Kind {
    /// Its name in URLs and in the cache.
    fn name(self) -> &'static str {
        match self {
            Self::DebugInfo => "debuginfo",
            Self::Executable => "executable",
        }
    }
}

/// The servers, and the folder where what they gave is kept.
#[derive(Clone, Debug)]
pub struct Debuginfod {
    state: State,
    cache: Option<Cache>,
    limits: Limits,
}

/// Whether and whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// These, in this order, until one has the file.
    Ask(Vec<String>),
    /// Nobody, for this reason.
    Off(&'static str),
}

/// What all requests of one report may cost together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    /// Bytes of one file.
    file_size: u64,
    /// A server that does not send its first bytes, or less than [`SLOWEST`] in this time, is not asked again.
    patience: Duration,
    /// Until the last byte of the last file.
    time: Duration,
}

/// Fewer bytes in the time of patience are a server that hangs; libdebuginfod counts alike.
const SLOWEST: u64 = 100 << 10;
const FILE_SIZE: u64 = 4 << 30;
const PATIENCE: Duration = Duration::from_secs(30);
const TIME: Duration = Duration::from_secs(300);
/// More servers than anybody lists.
const MAX_SERVERS: usize = 16;
/// SHA-1 and UUIDs are shorter; no linker makes longer ones.
const BUILD_ID_LENGTHS: std::ops::RangeInclusive<usize> = 2..=64;

impl Default for Debuginfod {
    fn default() -> Self {
        Self { state: State::Off("debuginfod is not used"), cache: None, limits: Limits::of(&|_| None) }
    }
}

impl Debuginfod {
    /// The same without servers, for this reason; what was fetched before stays known.
    pub fn without_servers(self, why: &'static str) -> Self {
        Self { state: State::Off(why), ..self }
    }

    /// What the environment asks for, with the variables of debuginfod's other clients: `DEBUGINFOD_URLS`,
    /// `DEBUGINFOD_CACHE_PATH`, `DEBUGINFOD_TIMEOUT`, `DEBUGINFOD_MAXTIME`, `DEBUGINFOD_MAXSIZE`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let urls = variable("DEBUGINFOD_URLS").unwrap_or_default();
        let urls = urls.to_string_lossy();
        let is_url = |word: &&str| word.starts_with("http://") || word.starts_with("https://");
        let servers: Vec<String> = urls
            .split_whitespace()
            .filter(is_url)
            .map(|url| url.trim_end_matches('/').to_owned())
            .take(MAX_SERVERS)
            .collect();
        let state = match servers.is_empty() {
            true if urls.trim().is_empty() => State::Off("DEBUGINFOD_URLS is not set"),
            true => State::Off("DEBUGINFOD_URLS has no URL of http or https"),
            false => State::Ask(servers),
        };
        Self { state, cache: Cache::of(&variable), limits: Limits::of(&variable) }
    }

    /// The file that a client has fetched before.
    pub(super) fn cached(&self, build_id: &[u8], kind: Kind) -> Option<PathBuf> {
        self.cache.as_ref()?.file(&requested(build_id)?, kind)
    }

    /// Begins to ask; the time runs from here.
    pub(super) fn start(&self) -> Fetching<'_> {
        Fetching::new(self)
    }
}

impl Limits {
    fn of(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let number = |name| variable(name)?.to_str()?.trim().parse::<u64>().ok().filter(|number| *number > 0);
        let seconds = |name, default| number(name).map_or(default, Duration::from_secs);
        Self {
            file_size: number("DEBUGINFOD_MAXSIZE").unwrap_or(FILE_SIZE),
            patience: seconds("DEBUGINFOD_TIMEOUT", PATIENCE),
            time: seconds("DEBUGINFOD_MAXTIME", TIME),
        }
    }
}

/// The digits that a server is asked with; none for what cannot be a build-id.
fn requested(build_id: &[u8]) -> Option<String> {
    BUILD_ID_LENGTHS.contains(&build_id.len()).then(|| hex(build_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Debuginfod {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Debuginfod::from_environment(move |name| {
            variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.into())
        })
    }

    /// Only what the environment names is asked; words that are no URLs (`ima:enforcing`) and other schemes are not.
    #[test]
    fn servers_come_from_the_environment() {
        assert_eq!(of(&[]).state, State::Off("DEBUGINFOD_URLS is not set"));
        let urls = "ima:enforcing http://a:8002/ file:///srv https://b/x";
        let expected = vec!["http://a:8002".to_owned(), "https://b/x".to_owned()];
        assert_eq!(of(&[("DEBUGINFOD_URLS", urls)]).state, State::Ask(expected));
        assert!(matches!(of(&[("DEBUGINFOD_URLS", "ftp://a")]).state, State::Off(why) if why.contains("no URL")));
    }

    /// Limits are those of debuginfod's other clients; nonsense is none.
    #[test]
    fn limits_come_from_the_environment() {
        let limits =
            of(&[("DEBUGINFOD_TIMEOUT", "7"), ("DEBUGINFOD_MAXSIZE", "100"), ("DEBUGINFOD_MAXTIME", "x")]).limits;
        assert_eq!(limits, Limits { file_size: 100, patience: Duration::from_secs(7), time: TIME });
    }

    /// A build-id becomes digits and nothing else, and only one of a length that build-ids have.
    #[test]
    fn requests_are_digits() {
        assert_eq!(requested(b"/../?#").as_deref(), Some("2f2e2e2f3f23"));
        assert_eq!([requested(&[]), requested(&[1]), requested(&[0; 65])], [None, None, None]);
    }
}
