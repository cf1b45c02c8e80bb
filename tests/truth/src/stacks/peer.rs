//! What another unwinder is given, and what it answers.

use anyhow::Result;
use profrec_format::RawStack;

use super::space::MappedFile;

/// An address space's number, in the order in which peers were told of them.
pub type SpaceId = usize;

/// What another unwinder makes of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Its frames, innermost first; inside the call instruction for those that made a call.
    pub frames: Vec<u64>,
    /// Why it ends there, in the unwinder's own words.
    pub end: String,
}

/// Another unwinder.
pub trait Peer {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Tells it of another address space.
    fn add_space(&mut self, files: &[MappedFile]) -> Result<()>;

    /// Has it walk a stack.
    fn walk(&mut self, space: SpaceId, stack: &RawStack) -> Result<Walk>;
}

/// The word at an address of a raw stack.
pub fn word(stack: &RawStack, address: u64) -> Option<u64> {
    let after = stack.memory.partition_point(|(start, _)| *start <= address);
    let (start, bytes) = stack.memory.get(after.checked_sub(1)?)?;
    let place = usize::try_from(address - start).ok()?;
    let word = bytes.get(place..)?.first_chunk()?;
    Some(u64::from_le_bytes(*word))
}
