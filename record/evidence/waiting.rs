//! Requests that wait for the thread that gathers evidence. It may be stuck for long, on a file system that does not answer: then
//! evidence is missing, but the recorder stays small.

use std::collections::VecDeque;

use super::Request;
use crate::jit;
use crate::progress;

/// Requests that may wait.
const MOST: usize = 4096;
/// Addresses in them: 16 MiB.
const MOST_ADDRESSES: usize = 1 << 20;

/// The queue.
#[derive(Default)]
pub(super) struct Waiting {
    requests: VecDeque<Request>,
    addresses: usize,
    /// There was no room for something, and that was told.
    pub(super) is_told: bool,
}

impl Waiting {
    /// Adds one at the end, unless there are too many. Whether it was taken; else it is to be asked for again.
    #[must_use]
    pub(super) fn push(&mut self, request: Request) -> bool {
        let addresses = addresses(&request);
        // Without the mark of a segment, what comes later would be taken for known. There are never two in a row.
        // The end of a process frees what is held of it; and whoever asks for a look asks for no other one before it was taken.
        let is_mark =
            matches!(request, Request::NewSegment | Request::Jit(jit::Request::Ended(_) | jit::Request::Look));
        let is_taken = is_mark || self.has_room(addresses);
        if is_taken {
            self.addresses += addresses;
            self.requests.push_back(request);
        }
        is_taken
    }

    /// Whether a request may be added, and requests with so many addresses: where nothing waits, with any number.
    pub(super) fn has_room(&mut self, addresses: usize) -> bool {
        let is_small = self.addresses == 0 || self.addresses + addresses <= MOST_ADDRESSES;
        let has_room = is_small && self.requests.len() < MOST;
        if !has_room {
            self.tell();
        }
        has_room
    }

    /// Says that something is not answered, or not in time.
    pub(super) fn tell(&mut self) {
        if !std::mem::replace(&mut self.is_told, true) {
            progress::put(
                "profrec: the files of the recorded programs cannot be read (is a disk or a mount stuck?): \
                 stacks of some will be incomplete where the report does not have them\n",
            );
        }
    }

    /// Takes the first one.
    pub(super) fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.addresses -= addresses(&request);
        Some(request)
    }

    /// Puts it back in front.
    pub(super) fn take_back(&mut self, request: Request) {
        self.addresses += addresses(&request);
        self.requests.push_front(request);
    }

    /// What is asked about code is of a segment that has ended: the next one asks anew.
    pub(super) fn start_segment(&mut self) {
        if self.addresses > 0 {
            self.tell();
        }
        self.requests.retain(|request| addresses(request) == 0 && !matches!(request, Request::NewSegment));
        self.addresses = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.addresses = 0;
    }
}

fn addresses(request: &Request) -> usize {
    match request {
        Request::Code(offsets) => offsets.len(),
        Request::Jit(jit::Request::Code(addresses)) => addresses.len(),
        Request::Jit(_)
        | Request::Module(..)
        | Request::NamedModule(..)
        | Request::StartCode(_)
        | Request::NewSegment => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However long nobody takes anything, and however many segments pass, there are no more than so many requests and addresses; what came
    /// first stays, and the mark of the segment is there.
    #[test]
    fn what_waits_is_bounded() {
        let mut waiting = Waiting::default();
        for segment in 0..4 {
            waiting.start_segment();
            assert!(waiting.push(Request::NewSegment));
            for module in 0..2_000 {
                let _refused = waiting.push(Request::Module(segment * 2_000 + module, None));
                let _refused = waiting.push(Request::Code(vec![(module, 1); 1_000]));
            }
            assert!(!waiting.push(Request::Code(vec![(1, 1); 100_000])));
            assert!(waiting.requests.len() <= MOST + 1 && waiting.addresses <= MOST_ADDRESSES);
        }
        assert!(matches!(waiting.pop(), Some(Request::Module(0, None))));
        assert_eq!(waiting.requests.iter().filter(|request| matches!(request, Request::NewSegment)).count(), 1);
        while let Some(request) = waiting.pop() {
            drop(request);
        }
        assert_eq!(waiting.addresses, 0);
    }

    /// What a segment has asked in vain is told; what was asked for no code is not.
    #[test]
    fn what_was_asked_in_vain_is_told() {
        let mut waiting = Waiting::default();
        assert!(waiting.push(Request::Module(1, None)));
        waiting.start_segment();
        assert!(!waiting.is_told && waiting.push(Request::Code(vec![(1, 1)])));
        waiting.start_segment();
        assert!(waiting.is_told);
    }

    /// Where nothing waits, there is room for all that has come together meanwhile, however much it is.
    #[test]
    fn what_could_not_wait_is_taken_when_nothing_waits() {
        let mut waiting = Waiting::default();
        let all = || Request::Code(vec![(1, 1); 2 * MOST_ADDRESSES]);
        assert!(waiting.push(Request::Code(vec![(1, 1)])) && !waiting.push(all()));
        assert!(waiting.pop().is_some() && waiting.push(all()) && !waiting.push(Request::Code(vec![(1, 1)])));
    }
}
