//! One row of call frame information: how to get from a frame to its caller.

use std::sync::Arc;

/// How to get from a frame to its caller, at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The canonical frame address: on x86-64 the stack pointer in the caller.
    pub cfa: CfaRule,
    /// The return address.
    pub return_address: Rule,
    /// The other registers for which there is a rule; all others are unchanged.
    pub registers: Arc<[(u16, Rule)]>,
    /// The caller was interrupted by a signal: the return address is not behind a call.
    pub signal_frame: bool,
    /// Where the function begins, as the call frame information has it.
    pub start: u64,
}

impl Row {
    /// How many DWARF expressions it takes to follow it.
    pub fn expressions(&self) -> usize {
        let rules = self.registers.iter().map(|(_, rule)| rule).chain([&self.return_address]);
        let is_expression = |rule: &&Rule| matches!(rule, Rule::SavedAt(_) | Rule::Expression(_));
        rules.filter(is_expression).count() + usize::from(matches!(self.cfa, CfaRule::Expression(_)))
    }
}

/// Where the canonical frame address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CfaRule {
    /// At an offset from a register.
    Register(u16, i64),
    /// As a DWARF expression says.
    Expression(Box<[u8]>),
}

/// What a register was in the caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// What it is now.
    Same,
    /// Nobody knows. For the return address: there is no caller.
    Undefined,
    /// The word at this offset from the canonical frame address.
    Saved(i64),
    /// The canonical frame address plus this offset.
    Offset(i64),
    /// What another register is now.
    Register(u16),
    /// The word at the address that a DWARF expression says.
    SavedAt(Box<[u8]>),
    /// What a DWARF expression says.
    Expression(Box<[u8]>),
    /// This value.
    Constant(u64),
}
