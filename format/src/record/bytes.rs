//! Bytes as serde has them: a list of numbers is the same in the file, and takes a step for each.

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_byte_buf(Bytes)
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::metadata::{decode, encode};
    use crate::{Image, MiniDebugInfo};

    /// In the file, bytes are what a list of them is: a 64-bit length and each of them; a length that is not there is an error.
    #[test]
    fn bytes_are_written_as_a_list() {
        let image = Image { module: 7, bytes: vec![1, 2, 250] };
        let (mut written, mut as_list) = (Vec::new(), Vec::new());
        encode(&mut written, &image).unwrap();
        encode(&mut as_list, &(7_u32, vec![1_u8, 2, 250])).unwrap();
        assert_eq!(written, as_list);
        assert_eq!(decode::<Image>(&written, "an image").unwrap(), image);
        for length in [512, 1 << 40, u64::MAX] {
            written[4..12].copy_from_slice(&length.to_le_bytes());
            assert!(decode::<MiniDebugInfo>(&written, "bytes").is_err());
        }
    }
}
