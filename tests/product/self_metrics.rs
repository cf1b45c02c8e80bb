//! What the recorder measures of itself is in the recording, and in parts and sums of it.

use std::path::Path;
use std::process::Command;

use crate::programs::{fixture, profrec_report, stdout, succeed};
use crate::recorded::{Facts, record};
use crate::rights::needs_root;

/// What `--self --json` says of a recording.
fn measured(path: &Path, arguments: &[&str]) -> Facts {
    let mut command = Command::new(profrec_report());
    Facts::parse(&stdout(&succeed(command.arg(path).args(["--self", "--json", "--limit", "0"]).args(arguments))))
}

fn rewrite(arguments: &[&str], inputs: &[&Path], output: &Path) {
    succeed(Command::new(profrec_report()).args(arguments).args(inputs).arg("-o").arg(output));
}

/// The measurements of all seconds are those of the whole: all samples, all of the recorder's CPU time, all that lost nothing; and
/// each says what memory and ring are like.
#[test]
fn the_recorder_over_time() {
    let _guard = needs_root!();
    let recorded = record(&[], &[&fixture("left_right"), Path::new("3")]);
    let (facts, measured) = (recorded.facts(), measured(&recorded.path(), &[]));
    let total = |what: &str| measured.number(&format!("/total/{what}"));
    assert_eq!(total("samples"), facts.number("/recording/samples"));
    assert_eq!(total("lost"), facts.lost_samples());
    assert!(total("cpu_seconds") > 0.0 && total("bpf_seconds") > 0.0 && total("bytes") > 0.0);
    let steps = measured.at("/steps").as_array().unwrap().len();
    assert!(steps >= 2, "{steps} measurements in three seconds");
    // Up to the last one, which has the last samples: how long it takes then to close the file is the machine's affair.
    let (covered, last) = (total("interval_seconds"), measured.number(&format!("/steps/{}/seconds", steps - 1)));
    assert!(last <= facts.number("/recording/duration_seconds") && last > 1.0);
    assert!((covered - last).abs() < 0.01, "{covered} of {last} seconds are measured");
    for step in 0..steps {
        let number = |what: &str| measured.number(&format!("/steps/{step}/{what}"));
        assert!(number("memory") > 1e6 && number("kernel_memory") > 8e6, "{}", measured.at("/steps"));
        assert!(number("ring_peak") <= number("ring_size") && number("ring_fill") <= number("ring_peak"));
        assert!(number("delay_median_seconds") <= number("delay_p99_seconds"), "{}", measured.at("/steps"));
    }
    assert_eq!(facts.at("/self/total"), measured.at("/total"));
    let text = recorded.report(&["--self"]);
    assert!(text.contains("100 % of the target's ticks") == (facts.lost_samples() == 0.0), "{text}");
    parts_and_their_sum(&recorded.path(), &measured);
}

/// A cut has the measurements of its time, and the cuts of a whole, merged, have all of them.
fn parts_and_their_sum(whole: &Path, measured_of_whole: &Facts) {
    let folder = tempfile::tempdir().unwrap();
    let [first, second, sum] = ["1", "2", "sum"].map(|name| folder.path().join(name));
    rewrite(&["--cut", "0..1.5"], &[whole], &first);
    rewrite(&["--cut", "1.5.."], &[whole], &second);
    rewrite(&["--merge"], &[&first, &second], &sum);
    let count = |facts: &Facts| facts.at("/steps").as_array().unwrap().len();
    let parts = count(&measured(&first, &[])) + count(&measured(&second, &[]));
    assert!(count(&measured(&first, &[])) > 0);
    assert_eq!(parts, count(measured_of_whole));
    assert_eq!(measured(&sum, &[]).at("/total/samples"), measured_of_whole.at("/total/samples"));
    let early = count(&measured(whole, &["--time", "0..1.5"]));
    assert_eq!(early, count(&measured(&first, &[])));
}
