//! The identity of an ELF file that has no build-id.

/// The bytes of an ELF file that tell one build from another: its size and its tables of headers. The section headers hold
/// the place and length of everything a compiler and a linker made, so that two builds that differ in code or symbols
/// nearly always differ here, and a few kilobytes are enough to compare them.
#[derive(Clone, Copy, Debug)]
pub struct ElfHeaders<'a> {
    /// Length of the file in bytes.
    pub file_size: u64,
    /// The file header, 64 bytes.
    pub file_header: &'a [u8],
    /// The table of program headers.
    pub program_headers: &'a [u8],
    /// The table of section headers.
    pub section_headers: &'a [u8],
}

impl ElfHeaders<'_> {
    /// The 64-bit FNV-1a hash over size (little-endian) and tables, in this order, as eight big-endian bytes.
    pub fn fingerprint(&self) -> Vec<u8> {
        let size = self.file_size.to_le_bytes();
        let parts = [&size[..], self.file_header, self.program_headers, self.section_headers];
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let hash = parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, step);
        hash.to_be_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vectors of FNV-1a hold for the sequence of parts, and every part counts.
    #[test]
    fn every_part_counts() {
        let empty = ElfHeaders { file_size: 0, file_header: b"", program_headers: b"", section_headers: b"" };
        let other = ElfHeaders { section_headers: b"x", ..empty };
        assert_ne!(empty.fingerprint(), other.fingerprint());
        assert_ne!(empty.fingerprint(), ElfHeaders { file_size: 1, ..empty }.fingerprint());
        assert_eq!(empty.fingerprint().len(), 8);
    }
}
