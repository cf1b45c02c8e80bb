//! Any bytes, and any frames with checksums that fit: the reader gives records and samples or says what is wrong.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use profrec_format::Recording;

fuzz_target!(|file: &[u8]| {
    if let Ok(recording) = Recording::open(file) {
        let _damaged = profrec_fuzz::read(&recording, |_| {});
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    profrec_fuzz::mutate::recording(data, size, max_size, seed)
});
