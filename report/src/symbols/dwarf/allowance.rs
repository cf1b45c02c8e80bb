//! What reading the DWARF of one file may cost. A few bytes of it can ask for years of work, or for more memory than
//! there is: ranges that are said again and again, units that share one line program, names that share their ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gimli::{Dwarf, Section};

use super::Bytes;

/// Units of work for each byte of debug info; compilers' debug info needs about one.
const WORK: u64 = 64;
/// Units of work that every file may cost.
const FREE_WORK: u64 = 1 << 24;
/// Bytes of names and frames that are kept of one file.
const ROOM: u64 = 1 << 30;
/// Units of work that a worker takes at once.
const SHARE: u64 = 1 << 16;

/// Why the DWARF of a unit was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is damaged.
    Damaged(gimli::Error),
    /// It asks for more than is sensible.
    TooMuch,
}

impl Trouble {
    pub(super) fn is_damage(self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}

impl From<gimli::Error> for Trouble {
    fn from(error: gimli::Error) -> Self {
        Self::Damaged(error)
    }
}

/// What is left of the work and the memory that a file's DWARF may cost, for all workers together.
#[derive(Debug)]
pub(super) struct Allowance {
    work: AtomicU64,
    room: AtomicU64,
    exhausted: AtomicBool,
}

impl Allowance {
    /// For these sections.
    pub(super) fn of(dwarf: &Dwarf<Bytes<'_>>) -> Self {
        let sections = [dwarf.debug_info.reader(), dwarf.debug_line.reader(), dwarf.debug_abbrev.reader()];
        Self::new(sections.iter().map(|section| section.len() as u64).sum())
    }

    /// For debug info of so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let work = bytes.saturating_mul(WORK).saturating_add(FREE_WORK);
        Self { work: work.into(), room: ROOM.into(), exhausted: false.into() }
    }

    /// A worker's share, for one unit.
    pub(super) fn meter(&self) -> Meter<'_> {
        Meter { allowance: self, work: 0 }
    }

    /// Allows the work that so many more bytes are worth. What was refused before stays refused.
    pub(super) fn grow(&self, bytes: u64) {
        let _ = change(&self.work, |left| left.saturating_add(bytes.saturating_mul(WORK)));
    }

    /// Whether something was refused.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Takes from `left`; what is asked for beyond it empties it.
    fn take(&self, left: &AtomicU64, amount: u64) -> Result<(), Trouble> {
        if change(left, |left| left.saturating_sub(amount)) > amount { Ok(()) } else { self.refuse() }
    }

    fn refuse(&self) -> Result<(), Trouble> {
        self.exhausted.store(true, Ordering::Relaxed);
        Err(Trouble::TooMuch)
    }
}

/// Changes a number and says what it was.
fn change(number: &AtomicU64, to: impl Fn(u64) -> u64) -> u64 {
    // The closure never refuses, so both arms hold what was there before.
    let before = number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| Some(to(before)));
    before.unwrap_or_else(|before| before)
}

/// One worker's view of the allowance. What it has taken and not used goes back when it is done.
pub(super) struct Meter<'a> {
    allowance: &'a Allowance,
    work: u64,
}

impl Meter<'_> {
    /// Does so much work, if it may.
    pub(super) fn work(&mut self, amount: u64) -> Result<(), Trouble> {
        if amount > self.work {
            self.allowance.take(&self.allowance.work, SHARE.saturating_add(amount))?;
            self.work = self.work.saturating_add(SHARE).saturating_add(amount);
        }
        self.work -= amount;
        Ok(())
    }

    /// Keeps so many bytes, if it may.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), Trouble> {
        self.work(bytes as u64)?;
        self.allowance.take(&self.allowance.room, bytes as u64)
    }

    /// Refuses what is longer than any compiler makes it.
    pub(super) fn no_longer_than(&self, limit: u64, bytes: u64) -> Result<(), Trouble> {
        if bytes > limit { self.allowance.refuse() } else { Ok(()) }
    }

    /// Allows the work that so many more bytes are worth.
    pub(super) fn grow(&self, bytes: u64) {
        self.allowance.grow(bytes);
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        let _ = change(&self.allowance.work, |left| left.saturating_add(self.work));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// All workers together do no more than what is allowed, and know when it is used up.
    #[test]
    fn work_ends() {
        let allowance = Allowance::new(1000);
        let mut done = 0;
        let (mut one, mut other) = (allowance.meter(), allowance.meter());
        while one.work(1000).is_ok() && other.work(1000).is_ok() {
            done += 2000;
        }
        assert!(done <= FREE_WORK + 64_000 && done > FREE_WORK / 2, "{done}");
        assert!(allowance.is_exhausted());
        assert_eq!(allowance.meter().work(u64::MAX), Err(Trouble::TooMuch));
    }

    /// Workers that each do little use up no more than they do, however many there are.
    #[test]
    fn what_is_not_used_goes_back() {
        let allowance = Allowance::new(0);
        assert!((0..FREE_WORK / 100).all(|_| allowance.meter().work(90).is_ok()));
        assert!(!allowance.is_exhausted());
        assert!((0..FREE_WORK / 100).any(|_| allowance.meter().work(90).is_err()));
    }

    /// Memory ends before the work does, in a large file.
    #[test]
    fn memory_ends() {
        let allowance = Allowance::new(1 << 30);
        let mut meter = allowance.meter();
        let kept = (0..).take_while(|_| meter.keep(16 << 20).is_ok()).count();
        assert!(kept == 63 && allowance.is_exhausted(), "{kept}");
    }
}
