//! Which lines a drawing needs that leaves out frames with few samples.

use std::io;

use super::{Lines, Rank, TextId};
use crate::paths::{NOTHING, PathId};
use crate::views::folded;

/// A drawing while lines come, in the order of their text, until one cannot be handed over.
pub(super) struct Drawing<'t, H> {
    texts: &'t [String],
    ranked: &'t [(TextId, bool)],
    fewest: f64,
    hand_over: H,
    last: Line,
}

/// A line that may take in more samples.
#[derive(Default)]
struct Line {
    text: String,
    samples: u64,
    /// It is of a frame that is left out, at this depth.
    takes_more_at: Option<usize>,
}

/// A frame that lines go on behind.
pub(super) struct Open {
    path: PathId,
    text: TextId,
    is_left_out: bool,
}

impl<'t, H: FnMut(&str, u64) -> io::Result<()>> Drawing<'t, H> {
    /// A drawing without frames of fewer samples. Lines are of these texts.
    pub(super) fn new(texts: &'t [String], ranked: &'t [(TextId, bool)], fewest: f64, hand_over: H) -> Self {
        Self { texts, ranked, fewest, hand_over, last: Line::default() }
    }

    /// Adds the lines that begin with the same frame.
    pub(super) fn add(&mut self, lines: &Lines) -> io::Result<()> {
        // The frames that the next one may stand below.
        let mut open: Vec<Open> = Vec::new();
        // Whether the next one is left out, where the one before has told.
        let mut told = None;
        let below: u64 = lines
            .paths
            .iter()
            .filter(|(_, before, _)| *before == NOTHING)
            .map(|(path, ..)| lines.totals[path as usize])
            .sum();
        let of_nothing = lines.totals[NOTHING as usize] - below;
        if of_nothing > 0 {
            self.write(&open, None, of_nothing, None)?;
        }
        let mut steps = lines.paths.iter().peekable();
        while let Some((path, before, rank)) = steps.next() {
            while open.pop_if(|frame| frame.path != before).is_some() {}
            let (text, goes_on) = self.ranked[rank as usize];
            let mut frame = Open { path, text, is_left_out: open.last().is_some_and(|before| before.is_left_out) };
            if let Some(is_left_out) = told.take() {
                frame.is_left_out = is_left_out;
            } else if !frame.is_left_out {
                // Where a line ends with a frame, and the next ones go on behind it, they are one in the drawing.
                let is_same =
                    |next: &&(PathId, PathId, Rank)| next.1 == before && self.ranked[next.2 as usize].0 == text;
                let next = steps.peek().filter(|_| !goes_on).filter(is_same);
                let own = lines.totals[path as usize];
                let samples = own + next.map_or(0, |(next, ..)| lines.totals[*next as usize]);
                told = next.map(|_| self.is_left_out(samples));
                frame.is_left_out = self.is_left_out(samples);
                match frame.is_left_out {
                    true => self.leave_out(&open, (text, goes_on), samples, goes_on || next.is_some())?,
                    false if goes_on => self.last.takes_more_at = None,
                    false => self.write(&open, Some((text, false)), own, None)?,
                }
            }
            open.extend(goes_on.then_some(frame));
        }
        Ok(())
    }

    /// Hands over what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.hand_over()
    }

    /// Whether a frame of so many samples is left out.
    pub(super) fn is_left_out(&self, samples: u64) -> bool {
        (samples as f64) < self.fewest
    }

    /// Adds a frame with what is below it, of which nothing is drawn: to the last line, if that is of such neighbours and takes more.
    pub(super) fn leave_out(
        &mut self,
        open: &[Open],
        frame: (TextId, bool),
        samples: u64,
        goes_on: bool,
    ) -> io::Result<()> {
        let depth = open.len();
        if self.last.takes_more_at == Some(depth) && self.is_left_out(self.last.samples + samples) {
            self.last.samples += samples;
            Ok(())
        } else {
            // Where nothing goes on, the same frame may come again, behind others, and must not be joined to this one.
            self.write(open, Some(frame), samples, goes_on.then_some(depth))
        }
    }

    /// Hands over the last line, and begins the next one: the frames that are open, and one more; where it goes on, a separator ends it.
    fn write(
        &mut self,
        open: &[Open],
        frame: Option<(TextId, bool)>,
        samples: u64,
        takes_more_at: Option<usize>,
    ) -> io::Result<()> {
        self.hand_over()?;
        let texts = open.iter().map(|frame| frame.text).chain(frame.map(|(text, _)| text));
        let texts = texts.map(|text| &self.texts[text as usize]);
        // One deep stack of long names can be more than there is memory for: it is not even begun.
        folded::require_length(texts.clone().map(|text| text.len() + 1).sum(), folded::DEPTH_HELPS)?;
        let line = &mut self.last;
        for text in texts {
            if !line.text.is_empty() {
                line.text.push(';');
            }
            line.text.push_str(text);
        }
        if frame.is_some_and(|(_, goes_on)| goes_on) {
            line.text.push(';');
        }
        (line.samples, line.takes_more_at) = (samples, takes_more_at);
        Ok(())
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let Line { text, samples, .. } = &mut self.last;
        let outcome = if *samples > 0 { (self.hand_over)(text, *samples) } else { Ok(()) };
        text.clear();
        outcome
    }
}
