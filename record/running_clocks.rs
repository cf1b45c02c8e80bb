//! The clocks that run, and their numbers, by which the programs in the kernel look up what a tick of theirs stands for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libbpf_rs::Link;

use crate::perf_event::{self, Scope};

/// To the programs like an inherited clock, which keeps its period.
const NO_NUMBER: u32 = 0;

/// A clock that runs.
struct Clock {
    event: OwnedFd,
    scope: Scope,
    number: u32,
    _link: Link,
}

/// All of them.
pub(crate) struct RunningClocks {
    clocks: Vec<Clock>,
    numbers: Numbers,
    /// How long those ran that are gone.
    gone: u64,
}

impl RunningClocks {
    /// None yet; at most so many have a number.
    pub(crate) fn new(most: u32) -> Self {
        Self { clocks: Vec::new(), numbers: Numbers { free: Vec::new(), given: 0, most }, gone: 0 }
    }

    /// A number for one more.
    pub(crate) fn take_number(&mut self) -> u32 {
        self.numbers.take()
    }

    /// One more runs.
    pub(crate) fn add(&mut self, event: OwnedFd, scope: Scope, number: u32, link: Link) {
        self.clocks.push(Clock { event, scope, number, _link: link });
    }

    /// Gives up the clock of a CPU: the next one takes its number.
    pub(crate) fn remove(&mut self, cpu: u32) {
        for clock in self.clocks.extract_if(.., |clock| clock.scope == Scope::Cpu(cpu)) {
            self.gone += clock.time();
            self.numbers.give_back(clock.number);
        }
    }

    /// Stops all.
    pub(crate) fn stop(&mut self) {
        self.gone = self.time();
        self.clocks.clear();
    }

    /// Those whose period can be changed, with their numbers.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        let numbered = self.clocks.iter().filter(|clock| clock.number != NO_NUMBER);
        numbered.map(|clock| (clock.number, clock.event.as_fd()))
    }

    /// Nanoseconds that the clocks have run, all together.
    pub(crate) fn time(&self) -> u64 {
        self.gone + self.clocks.iter().map(Clock::time).sum::<u64>()
    }
}

impl Clock {
    fn time(&self) -> u64 {
        perf_event::clock_time(self.event.as_fd())
    }
}

/// Numbers from 1 on.
struct Numbers {
    /// Those of clocks that are gone.
    free: Vec<u32>,
    given: u32,
    most: u32,
}

impl Numbers {
    fn take(&mut self) -> u32 {
        if let Some(number) = self.free.pop() {
            return number;
        }
        if self.given == self.most {
            return NO_NUMBER;
        }
        self.given += 1;
        self.given
    }

    fn give_back(&mut self, number: u32) {
        self.free.extend(Some(number).filter(|number| *number != NO_NUMBER));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CPU that comes and goes without end has a clock with a number each time; those that are too many have none.
    #[test]
    fn numbers_are_given_again() {
        let mut numbers = Numbers { free: Vec::new(), given: 0, most: 2 };
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [1, 2, NO_NUMBER]);
        for _ in 0..5 {
            numbers.give_back(2);
            assert_eq!(numbers.take(), 2);
        }
        numbers.give_back(NO_NUMBER);
        assert_eq!(numbers.take(), NO_NUMBER);
    }
}
