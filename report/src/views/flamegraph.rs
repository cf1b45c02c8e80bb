//! An SVG flame graph. The colour says what a frame is: kernel orange, inlined aqua, guessed violet, without a
//! name grey, everything else from yellow to red by its name.

use std::collections::BTreeMap;
use std::io;

use inferno::flamegraph::color::{Color, PaletteMap};
use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};

use super::folded::{self, Marks};
use crate::escape;
use crate::ledger::grouped;
use crate::profile::Profile;

/// Frames below this share of the samples, in percent, are not drawn: they would be thinner than
/// half a pixel, and would make most of the file.
const MIN_SHARE: f64 = 0.05;

/// The flame graph of a profile.
pub fn view(profile: &Profile) -> io::Result<Vec<u8>> {
    folded::require_room(profile)?;
    let stacks = folded::stacks(profile, Marks::KernelAndInlined);
    let lines: Vec<String> = stacks.iter().map(|(stack, samples)| format!("{stack} {samples}")).collect();
    let mut palette = palette(profile, &stacks);
    let mut options = options(profile);
    options.palette_map = Some(&mut palette);
    draw(&mut options, &lines)
}

/// Draws folded lines.
pub(super) fn draw(options: &mut Options<'_>, lines: &[String]) -> io::Result<Vec<u8>> {
    if lines.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no samples to draw"));
    }
    options.deterministic = true;
    // The root is on top: compilers recurse thousands of frames deep, and a page opens at its top.
    options.direction = Direction::Inverted;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.min_width = MIN_SHARE;
    let subtitle = options.subtitle.take().unwrap_or_default();
    options.subtitle = Some(format!("{subtitle}; frames below {MIN_SHARE}% are not drawn"));
    options.no_sort = true;
    let mut svg = Vec::new();
    flamegraph::from_lines(options, lines.iter().map(String::as_str), &mut svg)?;
    Ok(svg)
}

fn options(profile: &Profile) -> Options<'static> {
    let facts = &profile.facts;
    let host = if facts.header.host.is_empty() { "unknown host" } else { &facts.header.host };
    let (samples, hertz, seconds) = (grouped(profile.samples), facts.frequency(), facts.seconds());
    let counted = if facts.is_weighted() { "ticks" } else { "samples" };
    let mut options = Options::default();
    options.title =
        escape::text(&format!("{host}: {samples} {counted} of CPU time, {hertz:.0} Hz, {seconds:.1} s")).into();
    options.subtitle = Some(profile.ledger.brief());
    options
}

/// A colour for every frame that appears.
fn palette(profile: &Profile, stacks: &BTreeMap<String, u64>) -> PaletteMap {
    let mut palette = PaletteMap::default();
    let unnamed = profile.functions.iter().filter(|function| function.unnamed);
    let unnamed: std::collections::BTreeSet<String> =
        unnamed.map(|function| escape::folded_frame(&function.name).into_owned()).collect();
    for frame in stacks.keys().flat_map(|stack| stack.split(';')) {
        if palette.get(frame).is_none() {
            palette.insert(frame, color(frame, unnamed.contains(frame)));
        }
    }
    palette
}

fn color(frame: &str, unnamed: bool) -> Color {
    let shade = shade(frame);
    if unnamed {
        Color { r: 190, g: 190, b: 190 }
    } else if frame.ends_with("_[k]") {
        Color { r: 235, g: 110 + shade / 5, b: 0 }
    } else if frame.ends_with(folded::GUESSED) {
        Color { r: 170 + shade / 6, g: 130 + shade / 5, b: 225 }
    } else if frame.ends_with("_[i]") {
        Color { r: 60 + shade / 5, g: 190 + shade / 6, b: 190 + shade / 6 }
    } else {
        Color { r: 225 + shade / 10, g: 60 + shade / 2, b: 45 }
    }
}

/// A number from a name that spreads names over the shades of a colour (FNV-1a).
fn shade(name: &str) -> u8 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 24) as u8
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::profile::tests::sample_profile;

    /// The same profile gives the same bytes, with every function in them, and kernel frames in their own colour.
    #[test]
    fn the_same_profile_gives_the_same_bytes() {
        let svg = view(&sample_profile()).unwrap();
        assert_eq!(svg, view(&sample_profile()).unwrap());
        let svg = String::from_utf8(svg).unwrap();
        assert!(svg.contains("work (9 samples, 90.00%)") && svg.contains("do_sys (3 samples, 30.00%)"));
    }

    /// Nothing to draw is an error, not an empty picture.
    #[test]
    fn nothing_to_draw_is_an_error() {
        assert!(view(&Profile::default()).is_err());
    }
}
