//! What sampled processes owe: ticks that no sample stands for; bpf/hybrid.h.

/// A process, as long as it does not become another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Program {
    pub(crate) pid: u32,
    /// How often the process has become another program.
    pub(crate) exec: u32,
}

impl Program {
    /// `struct program` in bpf/hybrid.h.
    pub(crate) fn key(self) -> [u8; 8] {
        (u64::from(self.exec) << 32 | u64::from(self.pid)).to_le_bytes()
    }
}

/// Ticks of a program on one CPU that no sample stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owed {
    /// When the last of them was.
    pub(crate) last: u64,
    /// Of which thread.
    pub(crate) tid: u32,
    pub(crate) ticks: u32,
    /// The thread's name, up to a zero.
    pub(crate) comm: [u8; 16],
}

impl Owed {
    /// Bytes of `struct owed` in bpf/hybrid.h.
    pub(crate) const BYTES: usize = 32;

    /// Reads the struct; `None` when nothing is owed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let last = u64::from_le_bytes(*bytes.first_chunk()?);
        let owed = Self { last, tid: half(8)?, ticks: half(12)?, comm: *bytes.get(16..)?.first_chunk()? };
        (owed.ticks > 0).then_some(owed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Fields are where the BPF program puts them; nothing is nothing.
    #[test]
    fn what_is_owed_is_read() {
        let mut bytes = [0; Owed::BYTES];
        assert_eq!(Owed::parse(&bytes), None);
        bytes[..16].copy_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3, 0, 0, 0]);
        let owed = Owed { last: 7, tid: 9, ticks: 3, comm: [0; 16] };
        assert_eq!((Owed::parse(&bytes), Owed::parse(&bytes[..31])), (Some(owed), None));
        assert_eq!(Program { pid: 1, exec: 2 }.key(), [1, 0, 0, 0, 2, 0, 0, 0]);
    }
}
