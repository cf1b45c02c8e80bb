//! What a process tells of code that it made at run time: perf maps and jitdumps. The recorder reads both, of processes that it
//! does not trust; its parsers are taken from there.
#![no_main]

#[path = "../../record/jit/jitdump.rs"]
mod jitdump;
#[path = "../../record/jit/perf_map.rs"]
mod perf_map;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let mut before = 0;
    let read = perf_map::read(file, |end, line| {
        assert!(before < end && line.size > 0 && !line.name.is_empty());
        assert_eq!(file[end as usize - 1], b'\n');
        before = end;
    });
    assert!(read.is_ok());
    let mut skipped = 0;
    let mut rest = file;
    assert!(perf_map::skip_line(&mut rest, &mut skipped).is_ok() && skipped as usize + rest.len() == file.len());
    // As it is, and with the right beginning.
    let header: Vec<u8> = [0x4a69_5444u32, 1, 40, 62, 0, 7, 0, 0, 0, 0].iter().flat_map(|n| n.to_ne_bytes()).collect();
    for file in [file, &[&header[..], file].concat()] {
        let source = |buffer: &mut [u8], at: u64| {
            let rest = file.get(at as usize..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        };
        let mut before = 0;
        jitdump::read(file.len() as u64, source, |end, code| {
            assert!(before < end && end <= file.len() as u64);
            assert!(code.name.is_none_or(|name| name.len() <= 1024));
            before = end;
        });
    }
});
