//! What can be wrong with a recording, and where.

/// Why a recording could not be written or read. Offsets are bytes from the start of the file or,
/// where it says so, of a decompressed frame.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output refused bytes.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The recording would become longer than it may (see [`Writer::limit_to`](crate::Writer::limit_to)).
    #[error("the recording may not become larger than {limit} bytes")]
    LimitReached {
        /// Bytes.
        limit: u64,
    },
    /// The file does not start as a recording does.
    #[error("not a profrec recording: it should start with the 8 bytes \"profrec\\0\"")]
    NotARecording,
    /// A newer recorder wrote it.
    #[error(
        "the recording has format version {found}; this program reads versions up to {supported}: use a newer profrec-report"
    )]
    NewerVersion {
        /// The file's major version.
        found: u16,
        /// The highest major version that this crate reads.
        supported: u16,
    },
    /// The file ends inside its header.
    #[error("the recording ends at byte {offset}, inside its header")]
    HeaderTruncated {
        /// Length of the file.
        offset: usize,
    },
    /// The header's bytes are not what was written.
    #[error("the recording's header is damaged: {expected}")]
    HeaderDamaged {
        /// What the header should have been.
        expected: &'static str,
    },
    /// A frame's content is not what its kind promises.
    #[error("damaged at byte {offset} of a decompressed frame: expected {expected}")]
    Content {
        /// Offset in the decompressed frame, or in the column that was being read.
        offset: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// A recording asks for more than any recorder makes it need.
    #[error("the frame at byte {offset} expands to more than {what}: what follows in its segment is left out")]
    TooMuch {
        /// Where the frame starts in the file.
        offset: usize,
        /// What is not exceeded.
        what: &'static str,
    },
    /// A frame's compressed bytes cannot be decompressed.
    #[error("the frame at byte {offset} cannot be decompressed")]
    Compression {
        /// Where the frame starts in the file.
        offset: usize,
    },
}

impl Error {
    pub(crate) fn content(offset: usize, expected: &'static str) -> Self {
        Self::Content { offset, expected }
    }
}
