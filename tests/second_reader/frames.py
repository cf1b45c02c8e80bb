"""Frames: the unit that is checked and lost as a whole."""

import struct

import zstandard

from counts import columns
from encoding import Bytes, Malformed, Truncated, crc32c, require

MIB = 1 << 20
SYNC = bytes.fromhex("f7707265630d0a93")
FRAME_HEAD = struct.Struct("<8sBBHIIIIIQQI")
RECORDS, INDEX, TOTALS, FOOTER = 1, 3, 4, 5
COUNTS = 7
# Of earlier versions, and of this one.
SAMPLES = (2, 6, COUNTS)


class Frame:
    """A whole frame: its fields, and where it starts and ends in the file."""

    def __init__(self, content, start):
        head = content[start : start + FRAME_HEAD.size]
        require(SYNC.startswith(head[:8]), "no frame")
        require(len(head) == FRAME_HEAD.size, "the file ends in a frame", Truncated)
        (_, self.kind, self.flags, _, self.segment, self.sequence, self.packed, self.length, self.count, self.first,
         self.last, checksum) = FRAME_HEAD.unpack(head)  # fmt: skip
        require(max(self.packed, self.length) <= 32 * MIB, "a frame is too long")
        self.start, self.end = start, start + FRAME_HEAD.size + self.packed
        require(self.end <= len(content), "the file ends in a frame", Truncated)
        self.content = content[start + FRAME_HEAD.size : self.end]
        require(crc32c(self.content, crc32c(head[:48])) == checksum, "a frame's checksum does not fit")

    def decompressed(self, stream):
        """The content. Given in small pieces, so that no piece becomes more than 32 MiB."""
        if self.kind == COUNTS:
            return columns(Bytes(self.content), self.length)
        out = bytearray()
        try:
            for at in range(0, len(self.content), 1024):
                out += stream.decompress(self.content[at : at + 1024])
                require(len(out) <= self.length, "a frame is longer than it says")
        except zstandard.ZstdError as error:
            raise Malformed(f"zstd: {error}") from error
        require(len(out) == self.length, "a frame is shorter than it says")
        return bytes(out)

    def alone(self):
        return self.decompressed(zstandard.ZstdDecompressor().decompressobj())


def frames(content, start):
    """The whole frames, in order; in place of others the line that says what is there."""
    while start < len(content):
        try:
            frame = Frame(content, start)
            yield frame
            start = frame.end
        except Malformed as error:
            end = next_frame(content, start + 1)
            cut = isinstance(error, Truncated) and end == len(content)
            yield f"truncated at {start}" if cut else f"damaged {start} {end}"
            start = end


def next_frame(content, start):
    """Where the next whole frame starts, or the file ends. A file full of sync words is given up after a while."""
    patience = 1000
    while patience and (start := content.find(SYNC, start)) >= 0:
        try:
            return Frame(content, start).start
        except Malformed:
            start += 1
            patience -= 1
    return len(content)
