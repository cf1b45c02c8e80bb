//! The bytes of a file of names: a mark, a checksum of all that follows, the key, texts, frames by address, readable names.
//! Numbers are little-endian, of four bytes unless it says otherwise; texts are referred to by number, from 1 on.

use std::sync::Arc;

use foldhash::HashMap;

use super::{Known, KnownFrames};
use crate::symbols::dwarf::DwarfFrame;

/// The mark; its last byte is the version of this form.
const MARK: [u8; 8] = *b"profrec\x01";
/// Mark and checksum.
const HEAD: usize = 12;
/// More frames than this at one address are never written.
const MAX_FRAMES: usize = 1024;

/// The file of what is known.
pub(super) fn encode(key: &[u8], known: &Known) -> Vec<u8> {
    let (mut texts, mut body) = (Texts::default(), Vec::new());
    // In order: the same knowledge gives the same bytes.
    let frames = known.frames.in_order();
    put(&mut body, frames.len());
    for (address, frames) in frames {
        body.extend(address.to_le_bytes());
        put(&mut body, frames.len());
        for frame in frames {
            put(&mut body, frame.name.as_ref().map_or(0, |name| texts.number(name)));
            put(&mut body, frame.file.as_ref().map_or(0, |file| texts.number(file)));
            put(&mut body, frame.line.unwrap_or_default() as usize);
        }
    }
    let mut readable: Vec<_> = known.readable.iter().collect();
    readable.sort_unstable();
    put(&mut body, readable.len());
    for (raw, name) in readable {
        put(&mut body, texts.number(raw));
        put(&mut body, texts.number(name));
    }
    let mut file = [&MARK[..], &[0; 4]].concat();
    put_text(&mut file, key);
    put(&mut file, texts.all.len());
    texts.all.iter().for_each(|text| put_text(&mut file, text.as_bytes()));
    file.extend(body);
    let checksum = crc32fast::hash(&file[HEAD..]);
    file[MARK.len()..HEAD].copy_from_slice(&checksum.to_le_bytes());
    file
}

/// What a file says; nothing if it is not whole, or has another key.
pub(super) fn decode(key: &[u8], file: &[u8]) -> Option<Known> {
    let rest = file.strip_prefix(&MARK)?;
    let (checksum, rest) = rest.split_first_chunk()?;
    if crc32fast::hash(rest) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let mut input = Input(rest);
    if input.text()? != key {
        return None;
    }
    let texts: Vec<Arc<str>> = input.list(4, |input| Some(std::str::from_utf8(input.text()?).ok()?.into()))?;
    let text = |number: usize| Some(texts.get(number.checked_sub(1)?)?.clone());
    let optional = |number: usize| if number == 0 { Some(None) } else { text(number).map(Some) };
    let frame = |input: &mut Input<'_>| {
        let (name, file) = (optional(input.number()?)?, optional(input.number()?)?);
        let line = u32::try_from(input.number()?).ok().filter(|&line| line > 0);
        Some(DwarfFrame { name, file, line })
    };
    let count = input.length(12)?;
    let mut frames = KnownFrames::with_room(count);
    for _ in 0..count {
        let (address, count) = (input.address()?, input.length(12)?);
        if count > MAX_FRAMES {
            return None;
        }
        frames.insert(address, (0..count).map_while(|_| frame(&mut input)));
        if frames.get(address)?.len() < count {
            return None;
        }
    }
    let readable = input.list(8, |input| Some((text(input.number()?)?, text(input.number()?)?)))?;
    input.0.is_empty().then(|| Known { frames, readable: readable.into_iter().collect() })
}

/// Numbers of texts, each kept once.
#[derive(Default)]
struct Texts<'k> {
    numbers: HashMap<&'k str, usize>,
    all: Vec<&'k str>,
}

impl<'k> Texts<'k> {
    fn number(&mut self, text: &'k str) -> usize {
        *self.numbers.entry(text).or_insert_with(|| {
            self.all.push(text);
            self.all.len()
        })
    }
}

/// Nothing here comes near 4 GiB: the file is not kept if it is larger than 64 MiB.
fn put(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend((number as u32).to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put(bytes, text.len());
    bytes.extend_from_slice(text);
}

/// What is still to be read.
struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take()?) as usize)
    }

    fn address(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take()?))
    }

    fn text(&mut self) -> Option<&'b [u8]> {
        let length = self.number()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    /// The length of a list whose items take at least `least` bytes each: it cannot say that it is longer than what is there.
    fn length(&mut self, least: usize) -> Option<usize> {
        let length = self.number()?;
        (length <= self.0.len() / least).then_some(length)
    }

    /// A list whose items take at least `least` bytes each.
    fn list<T>(&mut self, least: usize, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.length(least)?;
        let mut list = Vec::with_capacity(length);
        for _ in 0..length {
            list.push(item(self)?);
        }
        Some(list)
    }
}
