//! CPUs that go and come while the recording is made.

use std::io::Write;

use anyhow::Result;

use super::Stream;
use crate::sampler::Sampler;
use crate::side_band::SideBand;

impl<W: Write> Stream<W> {
    /// A CPU is gone, or was for a while: what it reported is used, and it reports no more.
    pub(crate) fn leave_cpu(&mut self, cpu: u32, sampler: &Sampler) -> Result<()> {
        // What it had missed before was not missed for that.
        self.write_losses(sampler)?;
        self.losses.offline(cpu);
        self.look_at_side_band();
        self.side_band.remove(cpu);
        Ok(())
    }

    /// A CPU is gone at the end of the recording.
    pub(crate) fn note_offline(&mut self, cpu: u32) {
        self.losses.offline(cpu);
    }

    /// Process events of a CPU that came. What happened there until now was not told.
    pub(crate) fn watch_cpu(&mut self, cpu: u32) -> Result<()> {
        self.side_band.add(cpu, 1)?;
        self.doubt_everything();
        Ok(())
    }

    /// A CPU that was gone has a clock again.
    pub(crate) fn note_online(&mut self, cpu: u32, sampler: &Sampler) -> Result<()> {
        self.losses.online(cpu, &sampler.accounts()?);
        Ok(())
    }

    /// CPUs that were offline since this was asked last, though they are not now. Each is interrupted for it.
    pub(crate) fn dead_cpus(&mut self) -> Vec<u32> {
        self.side_band.dead()
    }

    /// Where clocks report that they are stopped.
    pub(crate) fn side_band(&self) -> &SideBand {
        &self.side_band
    }
}
