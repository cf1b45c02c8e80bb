//! The bytes of CIEs and FDEs, as far as needed to tell which addresses an FDE covers (DWARF 5, section 6.4.1; the
//! encodings of pointers are those of the Linux Standard Base, "Exception Frames").

/// How a CIE says that its FDEs write addresses (DW_EH_PE_*); `None` when it cannot be told.
pub(super) fn address_encoding(cie: &[u8]) -> Option<u8> {
    const ABSOLUTE: u8 = 0;
    let mut bytes = Bytes(cie.get(8..)?);
    let version = bytes.u8()?;
    let augmentation = bytes.text()?;
    if version >= 4 {
        bytes.skip(2)?; // address size, segment selector size
    }
    bytes.leb128()?; // code alignment
    bytes.leb128()?; // data alignment
    if version == 1 {
        bytes.skip(1)?;
    } else {
        bytes.leb128()?;
    }
    let Some(letters) = augmentation.strip_prefix(b"z") else {
        return augmentation.is_empty().then_some(ABSOLUTE);
    };
    bytes.leb128()?; // length of the augmentation data
    for letter in letters {
        match letter {
            b'R' => return bytes.u8(),
            b'L' => bytes.skip(1)?,
            b'P' => {
                let size = encoded_size(bytes.u8()?)?;
                bytes.skip(size)?;
            }
            b'S' | b'B' | b'G' => {}
            _ => return None,
        }
    }
    Some(ABSOLUTE)
}

/// The addresses that an FDE covers.
pub(super) fn covered(fde: &[u8], encoding: u8, fde_address: u64) -> Option<(u64, u64)> {
    const RELATIVE: u8 = 0x70;
    const TO_ITSELF: u8 = 0x10;
    let size = encoded_size(encoding)?;
    let value = Bytes(fde.get(8..)?).number(size, encoding & 0x08 != 0)?;
    let start = match encoding & RELATIVE {
        0 => value,
        TO_ITSELF => fde_address.wrapping_add(8).wrapping_add(value),
        _ => return None,
    };
    let length = Bytes(fde.get(8 + size..)?).number(size, false)?;
    Some((start, start.checked_add(length)?)).filter(|(start, end)| start < end)
}

/// Bytes of an address in an encoding with a fixed size.
pub(super) fn encoded_size(encoding: u8) -> Option<usize> {
    match encoding & 0x07 {
        0x00 | 0x04 => Some(8),
        0x02 => Some(2),
        0x03 => Some(4),
        _ => None,
    }
}

/// Bytes of an entry that are not read yet.
#[derive(Clone, Copy, Default)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let byte = *self.0.first()?;
        self.skip(1)?;
        Some(byte)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.0.iter().position(|byte| *byte == 0)?;
        let text = &self.0[..length];
        self.skip(length + 1)?;
        Some(text)
    }

    /// A LEB128 number without sign; what does not fit into 64 bits is left out.
    pub(super) fn leb128(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
    }

    fn number(&self, size: usize, signed: bool) -> Option<u64> {
        let bytes = self.0.get(..size)?;
        let fill = if signed && bytes.last()? & 0x80 != 0 { 0xff } else { 0 };
        let mut number = [fill; 8];
        number[..size].copy_from_slice(bytes);
        Some(u64::from_le_bytes(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CIE that ends early tells no encoding, wherever it ends.
    #[test]
    fn short_cies_tell_nothing() {
        let cie = [16, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b];
        assert_eq!(address_encoding(&cie), Some(0x1b));
        for length in 0..cie.len() {
            assert_eq!(address_encoding(&cie[..length]), None, "{length} bytes");
        }
    }
}
