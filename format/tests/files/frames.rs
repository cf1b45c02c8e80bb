//! A recording taken apart into frames and put together again, with right checksums.

/// A frame with its head.
#[derive(Clone)]
pub(crate) struct RawFrame {
    pub(crate) head: [u8; 52],
    pub(crate) content: Vec<u8>,
}

pub(crate) const RECORDS: u8 = 1;
pub(crate) const SAMPLES: u8 = 6;
pub(crate) const INDEX: u8 = 3;
pub(crate) const TOTALS: u8 = 4;
pub(crate) const FOOTER: u8 = 5;

impl RawFrame {
    pub(crate) fn kind(&self) -> u8 {
        self.head[8]
    }

    pub(crate) fn length(&self) -> usize {
        self.head.len() + self.content.len()
    }

    /// Its content before compression; not for samples, which are pieces of one stream.
    pub(crate) fn raw(&self) -> Vec<u8> {
        zstd::bulk::decompress(&self.content, 1 << 20).unwrap()
    }

    /// Replaces the content, and sets lengths and checksum.
    pub(crate) fn with_raw(mut self, raw: &[u8]) -> Self {
        self.content = zstd::bulk::compress(raw, 1).unwrap();
        self.head[24..28].copy_from_slice(&(raw.len() as u32).to_le_bytes());
        self.sealed()
    }

    /// Sets length and checksum as head and content are now.
    pub(crate) fn sealed(mut self) -> Self {
        self.head[20..24].copy_from_slice(&(self.content.len() as u32).to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&self.head[..48]), &self.content);
        self.head[48..].copy_from_slice(&checksum.to_le_bytes());
        self
    }
}

/// What stands before the first frame, and the frames.
pub(crate) fn apart(file: &[u8]) -> (Vec<u8>, Vec<RawFrame>) {
    let start = 20 + u32::from_le_bytes(file[12..16].try_into().unwrap()) as usize;
    let (mut at, mut frames) = (start, Vec::new());
    while at < file.len() {
        let head: [u8; 52] = file[at..at + 52].try_into().unwrap();
        let length = u32::from_le_bytes(head[20..24].try_into().unwrap()) as usize;
        frames.push(RawFrame { head, content: file[at + 52..at + 52 + length].to_vec() });
        at += 52 + length;
    }
    (file[..start].to_vec(), frames)
}

/// The file of these frames, numbered anew; the footer leads to the index.
pub(crate) fn together(start: &[u8], frames: &[RawFrame]) -> Vec<u8> {
    let mut file = start.to_vec();
    let mut index_at = 0u64;
    for (number, frame) in frames.iter().enumerate() {
        let mut frame = frame.clone();
        frame.head[16..20].copy_from_slice(&(number as u32).to_le_bytes());
        match frame.kind() {
            INDEX => index_at = file.len() as u64,
            FOOTER => frame.content = index_at.to_le_bytes().to_vec(),
            _ => {}
        }
        let frame = frame.sealed();
        file.extend_from_slice(&frame.head);
        file.extend_from_slice(&frame.content);
    }
    file
}
