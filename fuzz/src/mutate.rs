//! Changes recordings inside their frames: a recording is taken apart, the content of a frame is mutated, and
//! it is put together again with lengths and checksums that fit. So what is found is a recording, which
//! `profrec report` reads too.

use libfuzzer_sys::fuzzer_mutate;
use profrec_format::raw::{RawFrame, RawRecording};

/// One in so many mutations leaves the frames alone and changes the bytes of the file.
const BYTES_IN: u32 = 8;

/// A mutator for libFuzzer: changes `data[..size]`, at most to `max_size` bytes, and gives the new size.
pub fn recording(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let changed = (!seed.is_multiple_of(BYTES_IN)).then(|| inside(&data[..size], max_size, seed / BYTES_IN)).flatten();
    match changed {
        Some(file) if file.len() <= max_size => {
            data[..file.len()].copy_from_slice(&file);
            file.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
}

fn inside(file: &[u8], max_size: usize, seed: u32) -> Option<Vec<u8>> {
    let mut raw = RawRecording::take_apart(file)?;
    let count = raw.frames.len() as u32;
    if count == 0 {
        return None;
    }
    let place = (seed / 16 % count) as usize;
    match seed % 16 {
        0 => drop(raw.frames.remove(place)),
        1 => raw.frames.insert(place, raw.frames[place].clone()),
        2 => {
            let other = (seed / 16 / count % count) as usize;
            raw.frames.swap(place, other);
        }
        3 => change_head(&mut raw.frames[place], seed / 16 / count),
        4 => change(&mut raw.head, 20, max_size),
        _ => change(&mut raw.frames[place].content, 0, max_size),
    }
    raw.put_together().ok()
}

/// Changes the fields of a frame's head.
fn change_head(frame: &mut RawFrame, seed: u32) {
    let number = seed / 8;
    match seed % 8 {
        0 => frame.kind = (number % 8) as u8,
        1 => frame.flags ^= 1,
        2 => frame.segment = number,
        3 => frame.items = number,
        4 => frame.items = frame.items.wrapping_add(1),
        5 => frame.times.0 = u64::from(number) << (number % 33),
        6 => frame.times.1 = u64::from(number) << (number % 33),
        _ => frame.times = (u64::MAX, 0),
    }
}

/// Lets libFuzzer change what follows the first `start` bytes.
fn change(bytes: &mut Vec<u8>, start: usize, max_size: usize) {
    let length = bytes.len().saturating_sub(start);
    // What is decompressed may be larger already than a file may be.
    let room = (length + 4096).min(max_size).max(length);
    bytes.resize(start + room, 0);
    let length = fuzzer_mutate(&mut bytes[start..], length, room);
    bytes.truncate(start + length);
}
