//! A recording of each version of the format is read for ever, and shows what it always showed.
//!
//! `fixtures/format/README.md` says how they are made; `PROFREC_BLESS=1 cargo test --test product formats` writes what
//! comes out now as what is expected.

use std::fs;
use std::process::Command;

use crate::programs::{profrec_report, repository, stdout, succeed};

/// The version of the format that this crate writes, as it stands in the files.
fn version(file: &[u8]) -> u16 {
    u16::from_le_bytes([file[8], file[9]])
}

/// Every version up to the present one has recordings, with stacks, unwound, and of a recorder that slowed down, which are whole and give the stacks and the figures that they gave.
#[test]
fn every_version_is_read() {
    let folder = repository().join("fixtures/format");
    let written = profrec_format::Writer::create(Vec::new(), &profrec_format::Header::default()).unwrap();
    let present = version(&written.finish(&profrec_format::Totals::default()).unwrap());
    let names = (1..=present)
        .flat_map(|number| ["", "-scrubbed", "-slowed"].map(|kind| (number, format!("v{number}{kind}.prof"))));
    for (number, name) in names {
        let path = folder.join(name);
        assert_eq!(version(&fs::read(&path).unwrap()), number, "{}", path.display());
        let check = stdout(&succeed(Command::new(profrec_report()).arg("--check").arg(&path)));
        assert!(check.starts_with("whole: "), "{}: {check}", path.display());
        for view in ["folded", "json"] {
            let mut command = Command::new(profrec_report());
            let shown = stdout(&succeed(command.arg(&path).arg(format!("--{view}")).arg("--no-local-files")));
            let expected = path.with_extension(view);
            if std::env::var_os("PROFREC_BLESS").is_some() {
                fs::write(&expected, shown).unwrap();
            } else {
                assert_eq!(shown, fs::read_to_string(&expected).unwrap(), "{}", expected.display());
            }
        }
    }
}
