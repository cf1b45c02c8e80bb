//! The report as a whole, on recordings whose frames were changed and whose checksums fit.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|file: &[u8]| {
    profrec_fuzz::profiles(file).iter().for_each(profrec_fuzz::show);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    profrec_fuzz::mutate::recording(data, size, max_size, seed)
});
