//! Records that wait to be written as a frame.

use crate::error::Error;
use crate::metadata;
use crate::record::Record;
use crate::tables::{self, ModuleTable, ProcessTable};

/// Records that wait.
#[derive(Default)]
pub(crate) struct RecordBuffer {
    /// What happened to processes, then modules and layouts: they go before the others.
    processes: ProcessTable,
    modules: ModuleTable,
    others: Vec<u8>,
    /// What a reader takes records in tables for, besides their bytes.
    cost: u64,
    pub(crate) count: u32,
    times: Option<(u64, u64)>,
    /// When something was lost.
    pub(crate) losses: Vec<u64>,
    /// When the recorder measured itself.
    pub(crate) metrics: Vec<u64>,
}

impl RecordBuffer {
    /// Adds a record.
    pub(crate) fn put(&mut self, record: &Record) -> Result<(), Error> {
        if !self.processes.put(record) && !self.modules.put(record) {
            match tables::put_kernel_symbols(&mut self.others, record) {
                Some(cost) => self.cost += cost,
                None => metadata::put_record(&mut self.others, record)?,
            }
        }
        self.count += 1;
        if let Some(time) = record.time() {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
        }
        match record {
            Record::Loss(loss) => self.losses.push(loss.time),
            Record::SelfMetrics(metrics) => self.metrics.push(metrics.time),
            _ => {}
        }
        Ok(())
    }

    /// About what the records take of a reader, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.others.len() + self.cost() as usize
    }

    /// What a reader takes the records in tables for, besides the bytes of the frame.
    pub(crate) fn cost(&self) -> u64 {
        self.processes.cost() + self.modules.cost() + self.cost
    }

    /// The earliest and the latest time of those that have one.
    pub(crate) fn times(&self) -> (u64, u64) {
        self.times.unwrap_or((u64::MAX, 0))
    }

    /// Appends the records.
    pub(crate) fn drain_into(&mut self, out: &mut Vec<u8>) {
        if self.processes.cost() > 0 {
            metadata::put_with(out, tables::PROCESSES, |out| self.processes.drain_into(out));
        }
        if self.modules.cost() > 0 {
            metadata::put_with(out, tables::MODULES, |out| self.modules.drain_into(out));
        }
        out.append(&mut self.others);
    }
}
