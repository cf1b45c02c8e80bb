//! What tells of the machine and its people more than a profile needs: host name, command line, folders,
//! cgroups.

use profrec_format::{Header, Machine, Record};

/// Empties the host name, the command line and what tells one machine from others. With the date of the recording, its times would tell
/// when the machine was booted: what is left is as if that was in 1970, so that recordings of one machine still fit together.
pub(super) fn header(header: &mut Header) {
    header.host.clear();
    header.command_line.clear();
    header.machine = Machine::default();
    header.start_realtime = header.start_monotonic;
}

/// Leaves of a path the name of the file alone: of a module's, and of those that are part of the names of code that was made at run
/// time. Of a cgroup it leaves nothing.
pub(super) fn record(record: &mut Record) {
    match record {
        Record::Module(module) => module.path = name(&module.path).to_owned(),
        Record::Process(process) => process.cgroup.clear(),
        Record::PerfMap(map) => {
            map.trouble.clear();
            map.symbols.iter_mut().for_each(|symbol| without_folders(&mut symbol.name));
        }
        _ => {}
    }
}

/// Removes what lies between the first slash that begins a path and the last one: folders can have blanks in their names. Where it is known
/// that a path follows, or to be seen from a line number behind it, the folders of one that begins with a folder's name go, too.
fn without_folders(name: &mut String) {
    let begins =
        |place: usize| !name[..place].ends_with(|before: char| before.is_alphanumeric() || "_.".contains(before));
    let first = name.match_indices('/').map(|(place, _)| place).find(|place| begins(*place));
    if let (Some(first), Some(last)) = (first, name.rfind('/')) {
        name.replace_range(first..=last, "");
    }
    let start = script(name).or_else(|| place_in_file(name));
    if let Some(start) = start
        && let Some(last) = name[start..].rfind('/')
    {
        name.replace_range(start..=start + last, "");
    }
}

/// Where the path of the script begins in what V8 and CPython call a function: behind its name.
fn script(name: &str) -> Option<usize> {
    const OF_V8: [&str; 5] = ["JS:", "LazyCompile:", "Function:", "Script:", "Eval:"];
    if OF_V8.iter().any(|kind| name.starts_with(kind)) {
        return name.find(' ').map(|blank| blank + 1);
    }
    let behind = name.strip_prefix("py::")?.find(':')?;
    Some("py::".len() + behind + 1)
}

/// Where a word begins that is a path with a line number: `lib/app.rb:12`.
fn place_in_file(name: &str) -> Option<usize> {
    let last = name.rfind('/')?;
    let (file, line) = name[last + 1..].split_once(':')?;
    let has_line = line.starts_with(|digit: char| digit.is_ascii_digit());
    (has_line && file.contains('.')).then(|| name[..last].rfind([' ', '(', '<']).map_or(0, |before| before + 1))
}

fn name(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of scripts lose their folders, and names that only have slashes stay as they are.
    #[test]
    fn folders_go_from_names_of_scripts() {
        for (name, left) in [
            ("JS:*hash /home/alice b/app.js:2:14", "JS:*hash app.js:2:14"),
            ("JS:~f file:///srv/x.mjs:1:1", "JS:~f file:x.mjs:1:1"),
            ("py::fib:/home/alice/busy.py", "py::fib:busy.py"),
            ("py::<module>:<frozen site>", "py::<module>:<frozen site>"),
            ("JS:*hash alice/my project/app.js:2:14", "JS:*hash app.js:2:14"),
            ("LazyCompile:~f ../alice/x.mjs:1", "LazyCompile:~f x.mjs:1"),
            ("py::fib:alice/busy.py", "py::fib:busy.py"),
            ("block in run (lib/alice/app.rb:12)", "block in run (app.rb:12)"),
            ("$lists:map/2", "$lists:map/2"),
            ("JS:*divide", "JS:*divide"),
            ("Ljava/util/HashMap;::get", "Ljava/util/HashMap;::get"),
            ("/home/alice/", ""),
        ] {
            let mut redacted = name.to_owned();
            without_folders(&mut redacted);
            assert_eq!(redacted, left);
        }
    }

    /// What is left of the times does not tell when the machine was booted, and recordings of the same machine have the same distance between
    /// their clocks, as before.
    #[test]
    fn the_time_of_the_boot_goes() {
        const SECOND: u64 = 1_000_000_000;
        let distances = [10, 70].map(|start| {
            let (start_monotonic, start_realtime) = (start * SECOND, (1_700_000_000 + start) * SECOND);
            let mut header = Header { start_monotonic, start_realtime, ..Header::default() };
            super::header(&mut header);
            header.start_realtime - header.start_monotonic
        });
        assert_eq!(distances, [0, 0]);
    }

    /// Of a path the last part stays, which is what is shown of it.
    #[test]
    fn folders_go() {
        for (path, left) in [
            ("/home/alice/bin/app (deleted)", "app (deleted)"),
            ("[vdso]", "[vdso]"),
            ("//anon", "anon"),
            ("/memfd:x/y", "y"),
            ("/home/alice/", "alice"),
            ("/", ""),
        ] {
            assert_eq!(name(path), left);
        }
    }
}
