#!/usr/bin/env python3
"""A second reader of recordings, written from the specification of the format alone (the documentation of the crate
profrec-format), so that the specification is known to be enough. It shares no code with the first reader, and is simple
rather than fast.

    read.py FILE            everything in the recording, a line each
    read.py --summary FILE  only where it is not whole, and the counts

Needs the module zstandard. Exit status: 0 for a whole recording, 1 for one that is truncated or damaged or was not
closed, 2 for one that cannot be read at all.

The lines; within a segment first its records, then its samples, both in the order of the file:

    header {JSON}
    segment
    record KIND {JSON}
    sample TIME weight WEIGHT pid PID tid TID cpu CPU kernel [A ...] USER
    index {JSON}                 one for each segment
    totals {JSON}
    truncated at START | damaged START END | missing before START | undecodable START: WHY | wrong index | wrong totals
    counts segments N records N unknown N samples N lost N closed yes|no
    checksum CRC-32C of all lines of samples with their line ends

JSON has the fields in the order of the specification, without spaces; bytes as lists of numbers; enums that can grow
(call graph, stop, cause, verdict) as numbers, others by name. USER is one of

    none
    chain [A ...]
    unwound VERDICT [A ...]      a guessed frame has a ? behind it
    stack ip A sp A top A registers [NUMBER=A ...] ranges [A-A ...] words [A=A ...]

A is a number in hexadecimal, 16 digits; all other numbers are decimal. "lost" are samples that
are whole but behind damage, "unknown" records of a tag that is not known. START and END are offsets in the file.
"""

import argparse
import json
import sys

sys.dont_write_bytecode = True  # for what is imported from here on

import zstandard  # noqa: E402

from encoding import MASK, Bytes, Malformed, crc32c, require  # noqa: E402
from fields import HEADER_FIELDS, KINDS, SUMMARY_FIELDS, SUMMARY_TAG, TOTALS_FIELDS, tagged  # noqa: E402
from frames import FOOTER, INDEX, MIB, RECORDS, SAMPLES, TOTALS, frames  # noqa: E402
from samples import SampleState  # noqa: E402
from tables import TABLES  # noqa: E402

NOTED = {"Loss": "loss", "SelfMetrics": "metrics"}  # kinds of records whose times are in the index


class Recording:
    """Goes through a recording from its start to its end and prints its lines."""

    def __init__(self, content, summary):
        self.content, self.summary = content, summary
        self.counts = dict.fromkeys(["segments", "records", "unknown", "samples", "lost"], 0)
        self.checksum = 0
        self.troubles = []
        self.samples = None  # state of the segment; None outside of one, and behind damage
        self.segment, self.sample_lines = None, []  # its number, and the lines of its samples
        self.found = []  # a summary of each segment, as the index must have it
        self.index, self.index_offset, self.footer, self.totals = [], None, None, None

    def line(self, text):
        if not self.summary:
            print(text)

    def trouble(self, text):
        self.troubles.append(text)
        self.samples = None  # samples cannot be decoded until a segment starts

    def read(self):
        start = self.header()
        sequence = 0
        for frame in frames(self.content, start):
            if isinstance(frame, str):
                self.trouble(frame)
                sequence = None
                continue
            if sequence is not None and frame.sequence != sequence:
                self.trouble(f"missing before {frame.start}")
            sequence = frame.sequence + 1
            try:
                self.frame(frame)
            except Malformed as error:
                self.trouble(f"undecodable {frame.start}: {error}")
        self.end_segment()
        self.end()

    def header(self):
        head = Bytes(self.content)
        require(head.take(8) == b"profrec\0", "not a recording")
        version, _minor, length, checksum = head.fixed(2), head.fixed(2), head.fixed(4), head.fixed(4)
        require(version == 1, f"version {version} of the format is not known")
        header = head.take(length)
        require(crc32c(header) == checksum, "the header's checksum does not fit")
        self.line(f"header {as_json(HEADER_FIELDS(header))}")
        return head.at

    def frame(self, frame):
        if frame.kind == INDEX:
            self.end_segment()
            self.index_offset = frame.start
            self.index = [SUMMARY_FIELDS(fields) for tag, fields in tagged(frame.alone()) if tag == SUMMARY_TAG]
            for summary in self.index:
                self.line(f"index {as_json(summary)}")
        elif frame.kind == TOTALS:
            self.totals = TOTALS_FIELDS(frame.alone())
            self.line(f"totals {as_json(self.totals)}")
        elif frame.kind == FOOTER:
            self.footer = Bytes(frame.content).fixed(8)
        elif self.index_offset is None or frame.kind in (RECORDS, *SAMPLES):
            self.frame_of_segment(frame)

    def frame_of_segment(self, frame):
        if frame.flags & 1:
            self.start_segment(frame)
        if frame.segment != self.segment:
            # The start of its segment is missing.
            if frame.kind in SAMPLES:
                self.counts["lost"] += frame.count
            return
        self.found[-1]["bytes"] += frame.end - frame.start
        if frame.kind == RECORDS:
            self.read_records(frame)
        elif frame.kind in SAMPLES:
            self.read_samples(frame)

    def start_segment(self, frame):
        self.end_segment()
        self.counts["segments"] += 1
        self.segment = frame.segment
        self.samples = SampleState()
        self.stream = zstandard.ZstdDecompressor(max_window_size=MIB).decompressobj()
        self.found.append(dict(offset=frame.start, bytes=0, first_time=MASK, last_time=0, samples=0, pids=[],
                               first_loss=0, last_loss=0, weight=0, first_metrics=0, last_metrics=0))  # fmt: skip
        self.line("segment")

    def end_segment(self):
        for line in self.sample_lines:
            self.line(line)
            self.checksum = crc32c(line.encode() + b"\n", self.checksum)
        self.segment, self.sample_lines, self.samples = None, [], None

    def read_records(self, frame):
        for tag, content in tagged(frame.alone()):
            if tag in TABLES:
                for name, record in TABLES[tag](content):
                    self.record(name, record)
            elif tag in KINDS:
                name, fields = KINDS[tag]
                self.record(name, fields(content))
            else:
                self.counts["unknown"] += 1

    def record(self, name, record):
        self.line(f"record {name} {as_json(record)}")
        self.counts["records"] += 1
        if name in NOTED:
            self.note(self.found[-1], NOTED[name], record["time"])

    @staticmethod
    def note(found, what, time):
        first, last = f"first_{what}", f"last_{what}"
        found[first] = min(found[first] or time, time)
        found[last] = max(found[last], time)

    def read_samples(self, frame):
        if self.samples is None:
            self.counts["lost"] += frame.count
            return
        found = self.found[-1]
        for pid, weight, line in self.samples.frame(frame.decompressed(self.stream), frame.count):
            self.sample_lines.append(line)
            self.counts["samples"] += 1
            found["samples"] += 1
            found["weight"] += weight
            found["pids"] = sorted({*found["pids"], pid})
        found["first_time"] = min(found["first_time"], frame.first)
        found["last_time"] = max(found["last_time"], frame.last)

    def index_agrees(self):
        # Earlier versions had no weights.
        for said, found in zip(self.index, self.found):
            if not said["weight"]:
                found["weight"] = 0
        return self.index == self.found

    def end(self):
        if self.totals is not None and not self.troubles:
            if not self.index_agrees() or self.footer not in (None, self.index_offset):
                self.trouble("wrong index")
            if self.totals["samples"] != self.counts["samples"]:
                self.trouble("wrong totals")
        for trouble in self.troubles:
            print(trouble)
        counts = " ".join(f"{name} {count}" for name, count in self.counts.items())
        print(f"counts {counts} closed {'no' if self.totals is None else 'yes'}")
        print(f"checksum {self.checksum:08x}")


def as_json(fields):
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def main():
    arguments = argparse.ArgumentParser(description="A second reader of recordings, written from the specification alone.")
    arguments.add_argument("--summary", action="store_true", help="only where it is not whole, and the counts")
    arguments.add_argument("file")
    chosen = arguments.parse_args()
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        with open(chosen.file, "rb") as file:
            recording = Recording(file.read(), chosen.summary)
        recording.read()
        sys.stdout.flush()
    except (Malformed, OSError) as error:
        print(f"{chosen.file}: {error}", file=sys.stderr)
        return 2
    return 1 if recording.troubles or recording.totals is None else 0


if __name__ == "__main__":
    sys.exit(main())
