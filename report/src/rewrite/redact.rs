//! What tells of the machine and its people more than a profile needs: host name, command line, folders,
//! cgroups.

use profrec_format::{Header, Machine, Record};

/// Empties the host name, the command line and what tells one machine from others.
pub(super) fn header(header: &mut Header) {
    header.host.clear();
    header.command_line.clear();
    header.machine = Machine::default();
}

/// Leaves of a module's path the name of the file alone, and of a cgroup nothing.
pub(super) fn record(record: &mut Record) {
    match record {
        Record::Module(module) => module.path = name(&module.path).to_owned(),
        Record::Process(process) => process.cgroup.clear(),
        _ => {}
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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
