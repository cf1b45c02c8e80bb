//! The frames of all locations of a profile, one behind the other: there are very many.

use std::ops::Index;

use super::NamedFrame;

/// For each location its frames, innermost inlined function first; never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedLocations {
    frames: Vec<NamedFrame>,
    /// Where those of each location end.
    ends: Vec<u32>,
}

impl NamedLocations {
    /// Adds a location with its frames.
    pub(super) fn push(&mut self, frames: impl IntoIterator<Item = NamedFrame>) {
        self.frames.extend(frames);
        self.ends.push(self.frames.len() as u32);
    }

    /// The frames of all locations.
    pub fn frames(&self) -> &[NamedFrame] {
        &self.frames
    }

    /// Which of these are those of a location; none where there is no such location.
    pub fn places(&self, location: usize) -> std::ops::Range<u32> {
        let end = |location: usize| self.ends.get(location).copied();
        match end(location) {
            Some(last) => location.checked_sub(1).and_then(end).unwrap_or_default()..last,
            None => 0..0,
        }
    }

    /// The frames of each location.
    pub fn iter(&self) -> impl Iterator<Item = &[NamedFrame]> + Clone {
        (0..self.ends.len()).map(|location| &self[location])
    }
}

impl Index<usize> for NamedLocations {
    type Output = [NamedFrame];

    fn index(&self, location: usize) -> &[NamedFrame] {
        let places = self.places(location);
        &self.frames[places.start as usize..places.end as usize]
    }
}

impl FromIterator<Vec<NamedFrame>> for NamedLocations {
    fn from_iter<I: IntoIterator<Item = Vec<NamedFrame>>>(locations: I) -> Self {
        let mut all = Self::default();
        locations.into_iter().for_each(|frames| all.push(frames));
        all
    }
}
