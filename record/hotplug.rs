//! CPUs that go and come while a recording runs: an event on a CPU that goes offline is dead, also when the CPU comes back.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::attach::Clocks;
use crate::online_cpus::OnlineCpus;
use crate::progress;
use crate::rights;
use crate::sampler::Sampler;
use crate::stream::Stream;

/// So often those CPUs are looked for that went and came between two looks. All CPUs are interrupted for it.
const CHECK: Duration = Duration::from_secs(5);

/// The CPUs whose events are alive.
pub(crate) struct Cpus {
    online: OnlineCpus,
    watched: Vec<u32>,
    clocks: Clocks,
    period: u64,
    checked: Instant,
}

impl Cpus {
    /// Those that have these clocks at the start, of those that are online.
    pub(crate) fn new(online: OnlineCpus, watched: Vec<u32>, clocks: Clocks, period: u64) -> Self {
        Self { online, watched, clocks, period, checked: Instant::now() }
    }

    /// There are such clocks from now on.
    pub(crate) fn change_clocks(&mut self, clocks: Clocks) {
        self.clocks = clocks;
    }

    /// Records those that came since the last look. Where that fails, as it mostly does for rights that
    /// were given up, says so and goes on without.
    pub(crate) fn follow<W: Write>(&mut self, sampler: &mut Sampler, stream: &mut Stream<W>) -> Result<()> {
        // Without /sys none is seen to go; the next check finds it.
        let online = self.online.read().unwrap_or_else(|_| self.watched.clone());
        let mut dead = Vec::new();
        if self.checked.elapsed() >= CHECK {
            self.checked = Instant::now();
            dead = stream.dead_cpus();
        }
        let (went, came) = self.look(online, &dead);
        for cpu in went {
            sampler.detach(cpu);
            stream.leave_cpu(cpu, sampler)?;
        }
        for cpu in came {
            if let Err(error) = self.start(cpu, sampler, stream) {
                let why = match rights::may_open_events() {
                    true => format!("{error:#}"),
                    false => "the rights that this takes were given up after the start; \
                              a recording that is started now sees it"
                        .to_owned(),
                };
                progress::put(&format!("profrec: CPU {cpu} came online and is not recorded: {why}\n"));
            }
        }
        Ok(())
    }

    /// Notes which are gone at the end.
    pub(crate) fn note_gone<W: Write>(&self, stream: &mut Stream<W>) {
        let online = self.online.read().unwrap_or_else(|_| self.watched.clone());
        self.watched.iter().filter(|cpu| !online.contains(cpu)).for_each(|cpu| stream.note_offline(*cpu));
    }

    fn start<W: Write>(&self, cpu: u32, sampler: &mut Sampler, stream: &mut Stream<W>) -> Result<()> {
        stream.watch_cpu(cpu)?;
        if self.clocks.follow(cpu, sampler, stream.side_band(), self.period)? {
            stream.note_online(cpu, sampler)?;
        }
        Ok(())
    }

    /// The CPUs that went and those that came, in ascending order. `dead` ones did both.
    fn look(&mut self, online: Vec<u32>, dead: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let missing = |cpu: &u32, from: &[u32]| !from.contains(cpu) || dead.contains(cpu);
        let went = self.watched.iter().copied().filter(|cpu| missing(cpu, &online)).collect();
        let came = online.iter().copied().filter(|cpu| missing(cpu, &self.watched)).collect();
        self.watched = online;
        (went, came)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A CPU that went and comes back has come; what stays has not. One whose events are dead has gone and come meanwhile.
    #[test]
    fn cpus_come_and_go() {
        let mut cpus = Cpus::new(OnlineCpus::open().unwrap(), vec![0, 1], Clocks::Cpus, 1);
        assert_eq!(cpus.look(vec![0, 1], &[]), (vec![], vec![]));
        assert_eq!(cpus.look(vec![0], &[]), (vec![1], vec![]));
        assert_eq!(cpus.look(vec![0, 1, 2], &[]), (vec![], vec![1, 2]));
        assert_eq!(cpus.look(vec![0, 1, 2], &[1]), (vec![1], vec![1]));
        assert_eq!(cpus.look(vec![0, 1, 2], &[]), (vec![], vec![]));
    }
}
