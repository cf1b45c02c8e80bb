//! The parts of the recording so far: what they hold in all, and what begins anew with each.

use std::collections::BTreeMap;
use std::io::Write;

use profrec_format::Writer;

use super::Stream;

/// What parts of a recording hold that have ended.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    samples: u64,
    bytes: u64,
    /// Ticks that the samples stand for, by CPU.
    ticks: BTreeMap<u32, u64>,
}

impl<W: Write> Stream<W> {
    /// Begins a part that stands alone, when all that waited has been flushed. Gives back the writer of the part that ends.
    pub(crate) fn begin_part(&mut self, next: Writer<W>) -> Writer<W> {
        let ended = std::mem::replace(&mut self.writer, next);
        for (cpu, count) in ended.ticks_by_cpu() {
            *self.earlier.ticks.entry(*cpu).or_default() += count;
        }
        self.earlier.samples += ended.samples_in_output();
        self.earlier.bytes += ended.bytes_written();
        self.define_all_again();
        ended
    }

    /// What samples refer to has to be said again, for a segment stands alone.
    pub(super) fn define_all_again(&mut self) {
        self.segment += 1;
        self.segment_start = 0;
        (self.ends_with_counts, self.has_waited) = (false, false);
        self.has_forgotten = false;
        self.code.start_segment();
        self.kernel_names.start_segment();
        self.evidence.start_segment();
        self.is_pace_told = self.pace.is_none();
    }

    /// Samples of all parts that do not wait.
    pub(crate) fn samples_in_output(&self) -> u64 {
        self.earlier.samples + self.writer.samples_in_output()
    }

    /// Ticks that these stand for.
    pub(crate) fn ticks_in_output(&self) -> u64 {
        self.earlier.ticks.values().sum::<u64>() + self.writer.ticks_in_output()
    }

    /// Bytes of all parts.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.earlier.bytes + self.writer.bytes_written()
    }

    /// Ticks that these stand for, by CPU.
    pub(crate) fn ticks_by_cpu(&self) -> BTreeMap<u32, u64> {
        let mut all = self.earlier.ticks.clone();
        for (cpu, count) in self.writer.ticks_by_cpu() {
            *all.entry(*cpu).or_default() += count;
        }
        all
    }
}
