//! Cuts, merges and scrubs of any recording: what is written is whole, whatever was read.
#![no_main]

use std::fs;
use std::path::Path;

use clap::Parser;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use profrec_format::Recording;
use profrec_report::args::Args;

fuzz_target!(|file: &[u8]| {
    let folder = std::env::temp_dir().join(format!("profrec-fuzz-{}", std::process::id()));
    let (input, output) = (folder.join("in.prof"), folder.join("out.prof"));
    fs::create_dir_all(&folder).and_then(|()| fs::write(&input, file)).expect("the folder for temporary files");
    let paths = format!("{} -o {} --force", input.display(), output.display());
    for way in
        ["--cut 0..0.2", "--cut 0.1..", "--no-local-files --scrub", "--no-local-files --scrub --redact", "--merge"]
    {
        let words = format!("report {way} {paths}");
        let args = Args::try_parse_from(words.split(' ')).expect("a command line");
        if profrec_report::rewrite::run(&args).is_ok() {
            require_whole(&output);
        }
    }
});

fn require_whole(output: &Path) {
    let bytes = fs::read(output).expect("a recording that was said to be written");
    let recording = Recording::open(&bytes).expect("a recording");
    assert_eq!(recording.damage(), []);
    assert!(recording.totals().is_some());
    profrec_fuzz::read(&recording, |_| {}).expect("a recording that can be read to its end");
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    profrec_fuzz::mutate::recording(data, size, max_size, seed)
});
