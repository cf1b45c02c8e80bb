//! Arbitrary columns in a valid frame of samples or counts, or in a table of records: the decoder gives them or says what is wrong.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use profrec_format::raw::{RawFrame, RawRecording, unpacked};
use profrec_format::{Header, Recording, Totals, Writer};

static EMPTY: LazyLock<RawRecording> = LazyLock::new(|| {
    let writer = Writer::create(Vec::new(), &Header::default());
    let file = writer.and_then(|writer| writer.finish(&Totals::default())).expect("an empty recording");
    RawRecording::take_apart(&file).expect("the frames of an empty recording")
});

fuzz_target!(|frames: (u8, &[u8])| {
    let (items, columns) = frames;
    let mut raw = EMPTY.clone();
    // Two frames of one segment: what the first defines, the second refers to.
    let (first, second) = columns.split_at(columns.len() / 2);
    let frame = |kind, flags, content: &[u8]| RawFrame {
        kind,
        flags,
        items: u32::from(items),
        content: content.to_vec(),
        ..RawFrame::default()
    };
    let table = |tag: u8| {
        let head = [tag, 0].into_iter().chain((columns.len() as u32).to_le_bytes());
        let content = head.chain(columns.iter().copied()).collect();
        RawFrame { kind: 1, flags: 1, items: 1, content, ..RawFrame::default() }
    };
    raw.frames = match items % 10 {
        // The bits of counts.
        9 => return unpack(columns),
        0 => vec![frame(6, 1, columns)],
        1 => vec![frame(6, 1, first), frame(6, 0, second)],
        // Counts.
        2 => vec![frame(7, 1, columns)],
        3 => vec![frame(7, 1, first), frame(7, 0, second)],
        // One of the five tables, from four on.
        number => vec![table(16 + number)],
    };
    let Ok(file) = raw.put_together() else { return };
    let Ok(recording) = Recording::open(&file) else { return };
    let _damaged = profrec_fuzz::read(&recording, |_| {});
});

/// Unpacks a content of counts, whose first two bytes are the length of what it stands for.
fn unpack(bytes: &[u8]) {
    let Some((length, content)) = bytes.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes(*length));
    if let Ok(columns) = unpacked(content, length) {
        assert_eq!(columns.len(), length);
    }
}
