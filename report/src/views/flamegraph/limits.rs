//! How much of the stacks a picture shows, and what is said of the rest.

use std::num::NonZeroUsize;

use super::legend;
use crate::ledger::{grouped, percent};

/// Frames below this share of the samples, in percent, are not drawn: they would be thinner than
/// half a pixel, and would make most of the file.
const MIN_SHARE: f64 = 0.05;
/// Pixels that a picture may be high before it is said how it can be less: about 600 frames, one below the other.
const HIGH: f64 = 10_000.0;

/// How much of the stacks is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// No frames below this share of the samples, in percent.
    pub min_percent: Option<f64>,
    /// So many frames of a stack at most, from the top of the picture on.
    pub max_depth: Option<NonZeroUsize>,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file.
    pub svg: Vec<u8>,
    /// What is to be said beside it.
    pub note: Option<String>,
}

impl Limits {
    pub(super) fn min_share(self) -> f64 {
        self.min_percent.unwrap_or(MIN_SHARE)
    }

    pub(in crate::views) fn deepest(self) -> usize {
        self.max_depth.map_or(usize::MAX, NonZeroUsize::get)
    }

    /// That some stacks are deeper than what is drawn of them, in words: when, samples of such stacks, and all samples. Where there are
    /// none at all, nothing is said.
    pub(in crate::views) fn deeper(self, of: &[(&str, u64, u64)]) -> Option<String> {
        let deepest = self.max_depth.filter(|_| of.iter().any(|(_, deeper, _)| *deeper > 0))?;
        let of = of.iter().filter(|(.., all)| *all > 0);
        let shares = of.map(|(when, deeper, all)| format!("{}{when}", percent(*deeper, *all)));
        let shares = shares.collect::<Vec<_>>().join(", ");
        Some(format!("stacks are drawn {deepest} frames deep, {shares} of the samples have more"))
    }

    /// What is not drawn, in words that follow others.
    pub(super) fn not_drawn(self, deeper: Option<&str>) -> String {
        let min_share = self.min_share();
        let small = (min_share > 0.0).then(|| format!("frames below {min_share}% are not drawn"));
        let texts = [small.as_deref(), deeper].into_iter().flatten();
        texts.map(|text| format!("; {text}")).collect()
    }

    /// The picture, with a note of what is deeper, or of what would make it less high.
    pub(in crate::views) fn picture(self, svg: Vec<u8>, deeper: Option<String>) -> Picture {
        let height = legend::height(&svg).filter(|height| *height > HIGH && self.max_depth.is_none());
        let too_high = height.map(|height| {
            let height = grouped(height as u64);
            format!("the picture is {height} pixels high: --max-depth 100 draws stacks 100 frames deep")
        });
        Picture { svg, note: deeper.or(too_high) }
    }
}
