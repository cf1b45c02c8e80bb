//! Stacks that others have walked: chains of frame pointers that the kernel followed, and what was unwound before.

use profrec_format::UnwoundStack;

use super::row::Rule;
use super::{ProcessView, Unwinder, WalkedFrame};
use crate::stacks::Verdict;

/// The kernel walks at most this many frame pointers (`kernel.perf_event_max_stack`).
const KERNEL_CHAIN_LIMIT: usize = 127;

impl Unwinder<'_> {
    /// Frames of a chain of addresses that the kernel found by frame pointers. The kernel does not say
    /// why it stopped, so call frame information decides, and names: the chain is complete if there is no
    /// caller where it ends, or if it ends in start code; a chain that ends anywhere else broke off where a frame pointer was none.
    pub fn chain(&mut self, addresses: &[u64], process: ProcessView<'_>, frames: &mut Vec<WalkedFrame>) -> Verdict {
        let mut outermost = None;
        for (depth, &address) in addresses.iter().enumerate() {
            let address = if depth == 0 { address } else { address.wrapping_sub(1) };
            let place = self.place(address, process);
            frames.push(self.frame(address, place, false, process));
            outermost = place;
        }
        let in_call = addresses.len() > 1;
        let Some(&last) = addresses.last() else { return Verdict::NotRecorded };
        let Some((module, address)) = outermost else { return Verdict::Implausible };
        let row = self.rows.row(self.modules, module, address, in_call);
        let (verdict, is_first) = match row {
            None => (Verdict::NoCfi, false),
            Some(row) if row.return_address == Rule::Undefined => (Verdict::Complete, row.start > address),
            Some(row) if in_call && self.machine.starts_a_stack(row, address) => {
                (Verdict::Complete, row.start > address)
            }
            Some(_) => (Verdict::Implausible, false),
        };
        let verdict = match verdict {
            Verdict::Complete => verdict,
            _ if self.modules.is_start_code(module, address) => Verdict::Complete,
            _ if self.is_behind_start_code(addresses, process) => {
                frames.pop();
                Verdict::Complete
            }
            verdict => verdict,
        };
        if is_first {
            self.move_to(last, process, frames);
        }
        if addresses.len() >= KERNEL_CHAIN_LIMIT { Verdict::Truncated } else { verdict }
    }

    /// Whether what the outermost frame has called is in start code: that has no frame pointer, and where its register led is no frame.
    fn is_behind_start_code(&self, addresses: &[u64], process: ProcessView<'_>) -> bool {
        let [_, .., called, _] = addresses else { return false };
        let place = self.place(called.wrapping_sub(1), process);
        place.is_some_and(|(module, address)| self.modules.is_start_code(module, address))
    }

    /// Frames of a stack that was unwound before, and how that ended. In a strict walk it ends before the first guess, where there
    /// was no call frame information that led on.
    pub fn unwound(&self, stack: &UnwoundStack, process: ProcessView<'_>, frames: &mut Vec<WalkedFrame>) -> Verdict {
        let exact = stack.frames.iter().take_while(|frame| !(self.strict && frame.guessed));
        let before = frames.len();
        frames.extend(exact.map(|frame| {
            let place = self.place(frame.address, process);
            self.frame(frame.address, place, frame.guessed, process)
        }));
        match stack.verdict.into() {
            Verdict::Complete if frames.len() - before < stack.frames.len() => Verdict::NoCfi,
            verdict => verdict,
        }
    }
}
