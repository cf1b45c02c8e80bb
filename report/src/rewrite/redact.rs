//! What tells of the machine and its people more than a profile needs: host name, command line, folders,
//! cgroups.

use profrec_format::{Header, Machine, Record};

/// Empties the host name, the command line and what tells one machine from others.
pub(super) fn header(header: &mut Header) {
    header.host.clear();
    header.command_line.clear();
    header.machine = Machine::default();
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

/// Removes what lies between the first slash that begins a path and the last one: folders can have blanks in their names.
fn without_folders(name: &mut String) {
    let begins = |place: usize| !name[..place].ends_with(|before: char| before.is_alphanumeric() || before == '_');
    let first = name.match_indices('/').map(|(place, _)| place).find(|place| begins(*place));
    if let (Some(first), Some(last)) = (first, name.rfind('/')) {
        name.replace_range(first..=last, "");
    }
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
            ("Ljava/util/HashMap;::get", "Ljava/util/HashMap;::get"),
            ("/home/alice/", ""),
        ] {
            let mut redacted = name.to_owned();
            without_folders(&mut redacted);
            assert_eq!(redacted, left);
        }
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
