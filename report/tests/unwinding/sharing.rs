//! Walks of the committed recordings, with and without what neighbouring samples share.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use profrec_format::Recording;
use profrec_report::collect::walk_user;
use profrec_report::evidence::Evidence;
use profrec_report::modules::{Modules, NoLocalBinaries};
use profrec_report::replay::replay;
use profrec_report::unwind::Unwinder;

fn recordings() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/recordings");
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "prof"));
    paths.sort();
    assert!(paths.len() > 20);
    paths
}

/// In every sample of every recording, frames that are taken over from the thread's sample before are those that a walk of the whole stack
/// finds, with the same verdict; in exact walks and in strict ones. And it saves call frame information to be read.
#[test]
fn sharing_changes_nothing() {
    for (path, strict) in recordings().into_iter().flat_map(|path| [(path.clone(), false), (path, true)]) {
        let bytes = fs::read(&path).unwrap();
        let recording = Recording::open(&bytes).unwrap();
        let (evidence, numbers) = Evidence::gather(&recording);
        let modules = Modules::new(&evidence, &NoLocalBinaries);
        let arch = recording.header().arch;
        for segment in recording.segments() {
            let mut shared = Unwinder::new(&modules, arch).strict(strict);
            let mut whole = Unwinder::new(&modules, arch).strict(strict).without_sharing();
            replay(segment, &numbers, |sample, instant| {
                let (mut a, mut b) = (Vec::new(), Vec::new());
                let verdicts =
                    (walk_user(&mut shared, sample, instant, &mut a), walk_user(&mut whole, sample, instant, &mut b));
                assert_eq!(verdicts.0, verdicts.1, "{}, at {}", path.display(), sample.time);
                assert_eq!(a, b, "{}, at {}", path.display(), sample.time);
            })
            .unwrap();
        }
    }
}

/// What comes out does not depend on how many threads do the work: a recording of several segments, with one and with four.
#[test]
fn threads_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let merged = folder.path().join("merged.prof");
    let report = env!("CARGO_BIN_EXE_profrec-report");
    let recording = recordings().into_iter().find(|path| path.ends_with("jitdump.prof")).unwrap();
    let cuts = ["0..0.1", "0.1..0.2", "0.2..0.3", "0.3..0.4", "0.4.."].map(|part| {
        let cut = folder.path().join(part);
        make(Command::new(report).arg(&recording).args(["--cut", part]).arg("-o").arg(&cut));
        cut
    });
    make(Command::new(report).arg("--merge").args(&cuts).arg("-o").arg(&merged));
    for view in ["--folded", "--json", "--tree"] {
        let shown = |threads: &str| {
            let mut command = Command::new(report);
            command.env("RAYON_NUM_THREADS", threads).arg(&merged).args([view, "--no-local-files"]);
            command.output().unwrap().stdout
        };
        let one = shown("1");
        assert!(!one.is_empty());
        assert_eq!(one, shown("4"), "{view}");
    }
}

/// Runs what writes a recording.
fn make(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
