//! Unwound stacks in columns. Such a stack is a chain, as the kernel walks it, so that a reader that knows no more has the
//! right frames: all addresses but the innermost are return addresses. What no chain has stands in columns of its own.

use crate::chains::CHAIN_LIMIT;
use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::error::Error;
use crate::sample::{UnwoundFrame, UnwoundStack, Verdict};
use crate::varint::{fold, unfold};

/// The chain: as many of the innermost frames as a chain can have.
pub(crate) fn chain(stack: &UnwoundStack) -> Vec<u64> {
    let frames = stack.frames.iter().take(CHAIN_LIMIT as usize).enumerate();
    frames.map(|(depth, frame)| frame.address.wrapping_add(u64::from(depth > 0))).collect()
}

/// Writes what is not in the chain.
pub(crate) fn put(columns: &mut ColumnWriter, stack: &UnwoundStack) {
    columns.put(Column::Verdict, u64::from(u32::from(stack.verdict)));
    let stored = &stack.frames[..stack.frames.len().min(UnwoundStack::MAX_FRAMES)];
    let (chain, beyond) = stored.split_at(stored.len().min(CHAIN_LIMIT as usize));
    columns.put(Column::Beyond, beyond.len() as u64);
    let mut before = chain.last().map_or(0, |frame| frame.address);
    for frame in beyond {
        columns.put(Column::Beyond, fold(frame.address.wrapping_sub(before)));
        before = frame.address;
    }
    let guessed: Vec<usize> = (0..stored.len()).filter(|&place| stored[place].guessed).collect();
    columns.put(Column::Guessed, guessed.len() as u64);
    let mut before = 0;
    for place in guessed {
        columns.put(Column::Guessed, (place - before) as u64);
        before = place;
    }
}

/// Reads what [`put`] wrote, and puts it together with the chain.
pub(crate) fn take(columns: &mut ColumnReader, chain: &[u64]) -> Result<UnwoundStack, Error> {
    let verdict = Verdict::from(columns.take32(Column::Verdict)?);
    let frame = |address| UnwoundFrame { address, guessed: false };
    let called_from = |(depth, address): (usize, &u64)| frame(address.wrapping_sub(u64::from(depth > 0)));
    let mut frames: Vec<_> = chain.iter().enumerate().map(called_from).collect();
    let beyond = columns.take(Column::Beyond)?;
    if beyond > UnwoundStack::MAX_FRAMES as u64 {
        return Err(columns.unexpected(Column::Beyond, "at most 524,288 frames"));
    }
    let mut before = frames.last().map_or(0, |frame| frame.address);
    for _ in 0..beyond {
        before = before.wrapping_add(unfold(columns.take(Column::Beyond)?));
        frames.push(frame(before));
    }
    let mut place = 0usize;
    for _ in 0..columns.take(Column::Guessed)? {
        place = place.saturating_add(columns.take32(Column::Guessed)? as usize);
        let guessed = frames.get_mut(place);
        guessed.ok_or_else(|| columns.unexpected(Column::Guessed, "the place of a frame"))?.guessed = true;
    }
    Ok(UnwoundStack { frames, verdict })
}
