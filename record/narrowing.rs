//! What narrows the target: control groups, names and users. The kernel asks for each tick; what is not given is
//! not asked.

use std::fs;

use anyhow::{Context, Result, anyhow, bail};

use crate::args::RecordArgs;
use crate::cgroup::Cgroup;

/// Longest name of a thread, in bytes: TASK_COMM_LEN without the zero behind.
const LONGEST_COMM: usize = 15;
/// MOST_CGROUPS of bpf/target.h.
const MOST_CGROUPS: usize = 32;
/// `users` and `comms` there.
const MOST_WORDS: usize = 256;

/// Ticks count that are of one of each of these; of an empty list, every tick is.
#[derive(Debug, Default)]
pub(crate) struct Narrowing {
    /// Control groups, with those below them.
    pub(crate) cgroups: Vec<Cgroup>,
    /// Names of threads or processes, with zeros behind.
    pub(crate) comms: Vec<[u8; LONGEST_COMM + 1]>,
    /// Real user ids of the initial user namespace.
    pub(crate) users: Vec<u32>,
}

impl Narrowing {
    /// Reads it from the command line, and finds what it names on this machine.
    pub(crate) fn from_args(args: &RecordArgs) -> Result<Self> {
        let cgroups = args.cgroups.iter().map(|path| Cgroup::find(path)).collect::<Result<Vec<_>>>()?;
        let users = args.users.iter().map(|user| user_id(user)).collect::<Result<Vec<_>>>()?;
        let comms: Vec<_> = args.comms.iter().map(|comm| padded(comm)).collect();
        if cgroups.len() > MOST_CGROUPS || users.len().max(comms.len()) > MOST_WORDS {
            bail!("too much at once: at most {MOST_CGROUPS} of --cgroup and {MOST_WORDS} of --comm and --uid");
        }
        Ok(Self { cgroups, comms, users })
    }
}

/// A name as threads can have it.
pub(crate) fn parse_comm(text: &str) -> Result<String, String> {
    let mut end = LONGEST_COMM.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    match text.len() {
        0 => Err("a name has at least one letter".to_owned()),
        1..=LONGEST_COMM => Ok(text.to_owned()),
        _ => Err(format!("the kernel keeps {LONGEST_COMM} bytes of a name: give --comm '{}'", &text[..end])),
    }
}

fn padded(comm: &str) -> [u8; LONGEST_COMM + 1] {
    let mut bytes = [0; LONGEST_COMM + 1];
    let length = comm.len().min(LONGEST_COMM);
    bytes[..length].copy_from_slice(&comm.as_bytes()[..length]);
    bytes
}

/// A user's number, by the number itself or a name.
fn user_id(user: &str) -> Result<u32> {
    Ok(account(user)?.0)
}

/// The user and group ids of an account of this machine. Accounts of a directory service have to be given as
/// numbers: to ask such a service takes other people's code in the process that has the rights. A number's group is
/// its account's, else the same number.
pub(crate) fn account(name: &str) -> Result<(u32, u32)> {
    const PATH: &str = "/etc/passwd";
    let accounts = fs::read_to_string(PATH).with_context(|| format!("reading {PATH}"));
    let number = name.parse::<u32>();
    let found = accounts.as_deref().ok().and_then(|accounts| find_account(accounts, name));
    match (found, number) {
        (Some(account), _) => Ok(account),
        (None, Ok(number)) => Ok((number, number)),
        (None, Err(_)) => {
            accounts?;
            Err(anyhow!("there is no user '{name}' in {PATH}: give the number that `id -u {name}` prints"))
        }
    }
}

/// The ids in a line such as `daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin`, by its name or its number.
fn find_account(accounts: &str, wanted: &str) -> Option<(u32, u32)> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let user = fields.nth(1)?;
        let group = fields.next()?.parse().ok()?;
        (name == wanted || user == wanted).then_some((user.parse().ok()?, group))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A name that the kernel would cut is refused, with the one to type, cut between letters.
    #[test]
    fn long_names_are_refused() {
        assert_eq!(parse_comm("fifteen letters").unwrap(), "fifteen letters");
        assert!(parse_comm("sixteen letters!").unwrap_err().contains("--comm 'sixteen letters'"));
        assert!(parse_comm("fourteen lett ä").unwrap_err().contains("--comm 'fourteen lett '"));
        assert!(parse_comm("").is_err());
        assert_eq!(padded("sh"), *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    /// An account is found by its name and by its number; lines that are none are passed over.
    #[test]
    fn accounts_are_found() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\n# none\n::\n+::::::\nweb:x:33:34:web:/:/bin/false\n";
        assert_eq!(find_account(accounts, "web"), Some((33, 34)));
        assert_eq!(find_account(accounts, "33"), Some((33, 34)));
        assert_eq!(find_account(accounts, "34"), None);
        assert_eq!(account("root").unwrap(), (0, 0));
        assert_eq!(account("4000000001").unwrap(), (4_000_000_001, 4_000_000_001));
        assert!(account("no-such-user").unwrap_err().to_string().contains("id -u no-such-user"));
    }
}
