//! How many ticks each sample stands for. A column of its own, which is empty in a frame whose samples stand for one each: what
//! nobody needs costs nothing.

use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::error::Error;
use crate::sample::Sample;

/// The writer's side: what the samples of a frame stand for.
#[derive(Debug, Default)]
pub(crate) struct WeightEncoder {
    /// Ticks that the samples of the frame stand for.
    ticks: u64,
    /// One of them stands for more than one.
    is_needed: bool,
}

impl WeightEncoder {
    /// Adds a sample's weight. None is 0, and none more than a reader takes.
    pub(crate) fn put(&mut self, columns: &mut ColumnWriter, weight: u32) {
        let weight = u64::from(weight.clamp(1, Sample::MAX_WEIGHT));
        columns.put(Column::Weight, weight - 1);
        self.ticks += weight;
        self.is_needed |= weight > 1;
    }

    /// Ticks that the samples of the frame stand for.
    pub(crate) fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Ends a frame.
    pub(crate) fn end_frame(&mut self, columns: &mut ColumnWriter) {
        if !self.is_needed {
            columns.clear(Column::Weight);
        }
        *self = Self::default();
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct WeightDecoder {
    /// The samples of the frame have weights.
    is_there: bool,
}

impl WeightDecoder {
    /// Begins a frame.
    pub(crate) fn start_frame(&mut self, columns: &ColumnReader) {
        self.is_there = !columns.is_empty(Column::Weight);
    }

    /// The next sample's weight.
    pub(crate) fn take(&self, columns: &mut ColumnReader) -> Result<u32, Error> {
        if !self.is_there {
            return Ok(1);
        }
        let more = columns.take(Column::Weight)?;
        let weight = u32::try_from(more).ok().and_then(|more| more.checked_add(1));
        let weight = weight.filter(|weight| *weight <= Sample::MAX_WEIGHT);
        weight.ok_or_else(|| columns.unexpected(Column::Weight, "a sample that stands for at most 65,536 ticks"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The bytes of a frame of these weights, and the weights that are read of them.
    fn there_and_back(weights: &[u32]) -> (usize, Vec<u32>) {
        let (mut columns, mut encoder) = (ColumnWriter::default(), WeightEncoder::default());
        let mut bytes = Vec::new();
        columns.drain_into(&mut bytes);
        let empty = bytes.len();
        bytes.clear();
        weights.iter().for_each(|weight| encoder.put(&mut columns, *weight));
        encoder.end_frame(&mut columns);
        columns.drain_into(&mut bytes);
        let length = bytes.len() - empty;
        let (mut columns, mut decoder) = (ColumnReader::parse(bytes).unwrap(), WeightDecoder::default());
        decoder.start_frame(&columns);
        let read = weights.iter().map(|_| decoder.take(&mut columns).unwrap()).collect();
        columns.require_end().unwrap();
        (length, read)
    }

    /// Weights come back as they were; where each sample stands for one tick, they cost nothing.
    #[test]
    fn weights_come_back() {
        assert_eq!(there_and_back(&[1; 1000]), (0, vec![1; 1000]));
        assert_eq!(there_and_back(&[1, 4, 1, 65_536]).1, [1, 4, 1, 65_536]);
    }

    /// What no reader takes is not written.
    #[test]
    fn weights_have_bounds() {
        assert_eq!(there_and_back(&[0, 2, u32::MAX]).1, [1, 2, Sample::MAX_WEIGHT]);
    }

    /// A weight beyond the bound is refused, also one that is 1 less than what fits into no number.
    #[test]
    fn impossible_weights_are_refused() {
        for more in [1 << 16, u64::from(u32::MAX), u64::MAX] {
            let (mut columns, mut bytes) = (ColumnWriter::default(), Vec::new());
            columns.put(Column::Weight, more);
            columns.drain_into(&mut bytes);
            let (mut columns, mut decoder) = (ColumnReader::parse(bytes).unwrap(), WeightDecoder::default());
            decoder.start_frame(&columns);
            assert!(decoder.take(&mut columns).is_err(), "{more}");
        }
    }
}
