//! CPUs that come while a recording runs: an event on a CPU that goes offline is dead, also when the CPU comes back.

use std::io::Write;

use anyhow::Result;

use crate::attach::{self, Clocks};
use crate::progress;
use crate::sampler::Sampler;
use crate::stream::Stream;

/// The CPUs whose events are alive.
pub(crate) struct Cpus {
    watched: Vec<u32>,
    clocks: Clocks,
    period: u64,
}

impl Cpus {
    /// Those that are online at the start, which have these clocks.
    pub(crate) fn new(online: Vec<u32>, clocks: Clocks, period: u64) -> Self {
        Self { watched: online, clocks, period }
    }

    /// Records those that came since the last look. Where that fails, as it mostly does for rights that
    /// were given up, says so and goes on without.
    pub(crate) fn follow<W: Write>(&mut self, sampler: &mut Sampler, stream: &mut Stream<W>) {
        let Ok(online) = attach::online_cpus() else { return };
        stream.note_offline(&self.watched, &online);
        for cpu in self.look(online) {
            if let Err(error) = self.start(cpu, sampler, stream) {
                progress::put(&format!("profrec: CPU {cpu} came online and is not recorded: {error:#}\n"));
            }
        }
    }

    fn start<W: Write>(&self, cpu: u32, sampler: &mut Sampler, stream: &mut Stream<W>) -> Result<()> {
        stream.watch_cpu(cpu)?;
        self.clocks.follow(cpu, sampler, stream.side_band(), self.period)
    }

    /// The CPUs that came, in ascending order.
    fn look(&mut self, online: Vec<u32>) -> Vec<u32> {
        let came = online.iter().copied().filter(|cpu| !self.watched.contains(cpu)).collect();
        self.watched = online;
        came
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CPU that went and comes back has come; what stays has not.
    #[test]
    fn cpus_come_and_go() {
        let mut cpus = Cpus::new(vec![0, 1], Clocks::Cpus, 1);
        assert_eq!(cpus.look(vec![0, 1]), []);
        assert_eq!(cpus.look(vec![0]), []);
        assert_eq!(cpus.look(vec![0, 1, 2]), [1, 2]);
        assert_eq!(cpus.look(vec![0, 1, 2]), []);
    }
}
