//! How two walks of one stack differ, and why.

use std::fmt;

use profrec_report::evidence::ModuleIndex;
use profrec_report::modules::Modules;
use profrec_report::stacks::{Location, Verdict};
use profrec_report::unwind::WalkedFrame;
use profrec_report::unwind::cfi::CfiContext;
use profrec_report::unwind::row::{CfaRule, Row, Rule};

use super::peer::Walk;

/// How a walk differs from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// The same frames.
    Equal,
    /// Ours has the same frames and more.
    LongerHere,
    /// The other one has.
    LongerThere,
    /// The frames part at some place.
    Different,
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "equal",
            Self::LongerHere => "longer here",
            Self::LongerThere => "longer there",
            Self::Different => "different",
        })
    }
}

/// Compares two walks: how they differ, and how many frames they have in common. An unwinder that knows no interrupted frames
/// tells of them one byte before, as of a call.
pub fn relate(ours: &[WalkedFrame], theirs: &[u64]) -> (Relation, usize) {
    let is_same = |(our, their): (&WalkedFrame, &u64)| our.address.abs_diff(*their) <= 1;
    let common = ours.iter().zip(theirs).take_while(|pair| is_same(*pair)).count();
    let relation = match (common == ours.len(), common == theirs.len()) {
        (true, true) => Relation::Equal,
        (false, true) => Relation::LongerHere,
        (true, false) => Relation::LongerThere,
        (false, false) => Relation::Different,
    };
    (relation, common)
}

/// Why the walks part behind the frames that they have in common: what is particular about the last of these.
pub fn reason(modules: &Modules<'_>, ours: &[WalkedFrame], verdict: Verdict, common: usize, theirs: &Walk) -> String {
    let Some(last) = common.checked_sub(1).and_then(|index| ours.get(index)) else {
        return "at the innermost frame".to_owned();
    };
    let Location::Module { module, address } = last.location else {
        return format!("behind code that was made at run time; there: {}", theirs.end);
    };
    let next = ours.get(common);
    let here = match next {
        None => format!("here {}", verdict_name(verdict)),
        Some(frame) if frame.guessed => "guessed here".to_owned(),
        Some(_) => "found here".to_owned(),
    };
    let there = if common == theirs.frames.len() { theirs.end.as_str() } else { "goes on" };
    format!("{}; {here}; there: {there}", kind_of_row(modules, module, address))
}

/// What a walker needs to know to leave a frame.
fn kind_of_row(modules: &Modules<'_>, module: ModuleIndex, address: u64) -> &'static str {
    const FRAME_POINTER: u16 = 6;
    const STACK_POINTER: u16 = 7;
    // The system call that leaves a signal handler ends its function: what is in it stands one instruction behind.
    const SYSCALL: u64 = 2;
    let row_at = |address| modules.row(module, address, &mut CfiContext::default());
    let is_left = |row: &Row| row.signal_frame;
    let Some(row) = row_at(address).or_else(|| row_at(address.wrapping_sub(SYSCALL)).filter(is_left)) else {
        return "no call frame information";
    };
    match row.cfa {
        _ if row.signal_frame => "signal frame",
        _ if row.return_address == Rule::Undefined => "end by call frame information",
        CfaRule::Expression(_) => "CFA by an expression",
        CfaRule::Register(FRAME_POINTER | STACK_POINTER, _) => "plain row",
        CfaRule::Register(..) => "CFA by another register",
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Complete => "complete",
        Verdict::Truncated => "truncated",
        Verdict::NoCfi => "no CFI",
        Verdict::Implausible => "implausible",
        Verdict::NotCode => "not code",
        Verdict::NotRecorded => "not recorded",
        Verdict::ExecOrExit => "exec or exit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(address: u64) -> WalkedFrame {
        WalkedFrame { location: Location::Kernel { address }, address, guessed: false }
    }

    /// Each relation, and a frame that is told one byte before.
    #[test]
    fn walks_are_related() {
        let ours = [frame(10), frame(20), frame(30)];
        assert_eq!(relate(&ours, &[10, 19, 30]), (Relation::Equal, 3));
        assert_eq!(relate(&ours, &[10, 20]), (Relation::LongerHere, 2));
        assert_eq!(relate(&ours, &[10, 20, 30, 40]), (Relation::LongerThere, 3));
        assert_eq!(relate(&ours, &[10, 25, 30]), (Relation::Different, 1));
        assert_eq!(relate(&[], &[]), (Relation::Equal, 0));
    }
}
