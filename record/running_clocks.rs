//! The clocks that run, those that may have to, and their numbers, by which the programs in the kernel look up what a tick of theirs
//! stands for.

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

/// A clock that was opened and does not tick yet. It has its number: there may be none left later.
pub(crate) struct Opened {
    pub(crate) event: OwnedFd,
    pub(crate) scope: Scope,
    pub(crate) number: u32,
}

/// All of them.
pub(crate) struct RunningClocks {
    clocks: Vec<Clock>,
    reserved: Vec<Opened>,
    numbers: Numbers,
    /// How long those ran that are gone.
    gone: u64,
}

impl RunningClocks {
    /// None yet; at most so many have a number.
    pub(crate) fn new(most: u32) -> Self {
        let numbers = Numbers { free: Vec::new(), given: 0, most };
        Self { clocks: Vec::new(), reserved: Vec::new(), numbers, gone: 0 }
    }

    /// A number for one more.
    pub(crate) fn number(&mut self, event: OwnedFd, scope: Scope) -> Opened {
        Opened { event, scope, number: self.numbers.take() }
    }

    /// One more runs.
    pub(crate) fn add(&mut self, opened: Opened, link: Link) {
        let Opened { event, scope, number } = opened;
        self.clocks.push(Clock { event, scope, number, _link: link });
    }

    /// One that does not run waits until it has to.
    pub(crate) fn reserve(&mut self, opened: Opened) {
        self.reserved.push(opened);
    }

    /// Those that wait.
    pub(crate) fn take_reserved(&mut self) -> Vec<Opened> {
        std::mem::take(&mut self.reserved)
    }

    /// Gives up the clock of a CPU: the next one takes its number.
    pub(crate) fn remove(&mut self, cpu: u32) {
        self.leave(|scope| scope == Scope::Cpu(cpu));
        for opened in self.reserved.extract_if(.., |opened| opened.scope == Scope::Cpu(cpu)) {
            self.numbers.give_back(opened.number);
        }
    }

    /// Gives up those clocks that run for such scopes.
    pub(crate) fn leave(&mut self, is_left: impl Fn(Scope) -> bool) {
        for clock in self.clocks.extract_if(.., |clock| is_left(clock.scope)) {
            self.gone += clock.time();
            self.numbers.give_back(clock.number);
        }
    }

    /// Has none tick for now.
    pub(crate) fn pause(&self) {
        for clock in &self.clocks {
            let _thread_ended = perf_event::disable(clock.event.as_fd());
        }
    }

    /// Has all tick again that are there.
    pub(crate) fn go_on(&self) {
        for clock in &self.clocks {
            let _thread_ended = perf_event::enable(clock.event.as_fd());
        }
    }

    /// Stops all.
    pub(crate) fn stop(&mut self) {
        self.gone = self.time();
        self.clocks.clear();
        self.reserved.clear();
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
