//! An SVG flame graph. The colour says what kind of frame it is, its shade tells neighbours apart.

mod legend;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use inferno::flamegraph::color::{BackgroundColor, Color, PaletteMap};
use inferno::flamegraph::{self, Direction, Options, TextTruncateDirection};

use super::folded;
use super::stack_lines::{Annotations, StackLines, deeper_than};
use crate::escape;
use crate::ledger::grouped;
use crate::profile::Profile;
pub(super) use legend::Legend;
pub use limits::{Limits, Picture};

/// The frame above all others.
const ALL: Color = Color { r: 215, g: 215, b: 220 };
/// What is behind the frames: darker than those of a diff that did not change.
const BACKGROUND: Color = Color { r: 236, g: 236, b: 238 };

/// The flame graph of a profile.
pub fn view(profile: &Profile, limits: Limits) -> io::Result<Picture> {
    let stacks = StackLines::no_deeper(profile, Annotations::All, limits.deepest());
    let (mut lines, mut length) = (Vec::new(), 0);
    stacks.drawn(fewest(profile.samples, limits), |stack, samples| {
        length += stack.len();
        folded::require_length(length, "; --max-depth and --min-percent draw less of them")?;
        lines.push(format!("{stack} {samples}"));
        Ok(())
    })?;
    let kinds = kinds(profile, stacks.texts());
    let mut palette = palette(&kinds);
    let mut options = options(profile);
    options.palette_map = Some(&mut palette);
    let deeper = limits.deeper(&[("", deeper_than(profile, limits.deepest()), profile.samples)]);
    let beside = profile.ledger.left_out_text().unwrap_or_default();
    let legend = Legend { kinds: kinds.into_values().collect(), beside };
    let svg = draw(&mut options, &lines, limits, deeper.as_deref(), &legend)?;
    Ok(limits.picture(svg, deeper))
}

/// Frames of fewer samples are not drawn. The drawing decides; what it is not even told of is a little less.
fn fewest(samples: u64, limits: Limits) -> f64 {
    const A_LITTLE_LESS: f64 = 0.999;
    samples as f64 * limits.min_share() / 100.0 * A_LITTLE_LESS
}

/// Draws folded lines with a legend, and says in the subtitle what is not drawn.
pub(super) fn draw(
    options: &mut Options<'_>,
    lines: &[String],
    limits: Limits,
    deeper: Option<&str>,
    legend: &Legend,
) -> io::Result<Vec<u8>> {
    if lines.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no samples to draw"));
    }
    options.deterministic = true;
    options.bgcolors = Some(BackgroundColor::Flat(BACKGROUND));
    // The root is on top: compilers recurse thousands of frames deep, and a page opens at its top.
    options.direction = Direction::Inverted;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.min_width = limits.min_share();
    let subtitle = options.subtitle.take().unwrap_or_default() + &limits.not_drawn(deeper);
    let mut lines_of_subtitle = legend::subtitle_lines(&subtitle);
    options.subtitle = Some(lines_of_subtitle.remove(0));
    options.no_sort = true;
    let mut svg = Vec::new();
    flamegraph::from_lines(options, lines.iter().map(String::as_str), &mut svg)?;
    Ok(legend.add(svg, &lines_of_subtitle))
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

/// The kinds of the frames of stacks, by how they are written there. Each has a colour.
fn kinds<'a>(profile: &Profile, frames: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, Kind> {
    let unnamed = profile.functions.iter().filter(|function| function.unnamed);
    let unnamed: BTreeSet<String> = unnamed.map(|function| escape::folded_frame(&function.name).into_owned()).collect();
    let name =
        |frame: &'a str| ["_[k]", "_[j]", "_[i]"].iter().find_map(|mark| frame.strip_suffix(mark)).unwrap_or(frame);
    frames.map(|frame| (frame, Kind::of(frame, unnamed.contains(name(frame))))).collect()
}

/// What a colour says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    User,
    Inlined,
    Jit,
    Kernel,
    Guessed,
    Unnamed,
}

impl Kind {
    fn of(frame: &str, unnamed: bool) -> Self {
        match frame.get(frame.len().saturating_sub(4)..) {
            Some("_[g]") => Self::Guessed,
            _ if unnamed => Self::Unnamed,
            Some("_[k]") => Self::Kernel,
            Some("_[j]") => Self::Jit,
            Some("_[i]") => Self::Inlined,
            _ => Self::User,
        }
    }

    fn color(self, shade: u8) -> Color {
        let (r, g, b) = match self {
            Self::User => (240 + shade / 18, 190 + shade / 5, 90 + shade / 4),
            Self::Inlined => (90 + shade / 5, 195 + shade / 6, 195 + shade / 6),
            Self::Jit => (110 + shade / 5, 195 + shade / 6, 95 + shade / 5),
            Self::Kernel => (225 + shade / 10, 95 + shade / 5, 60 + shade / 6),
            Self::Guessed => (195 + shade / 8, 130 + shade / 6, 215 + shade / 8),
            Self::Unnamed => (185 + shade / 12, 185 + shade / 12, 185 + shade / 12),
        };
        Color { r, g, b }
    }

    fn name(self) -> &'static str {
        match self {
            Self::User => "user code",
            Self::Inlined => "inlined",
            Self::Jit => "JIT",
            Self::Kernel => "kernel",
            Self::Guessed => "guessed",
            Self::Unnamed => "without a name",
        }
    }
}

fn palette(kinds: &BTreeMap<&str, Kind>) -> PaletteMap {
    let mut palette = PaletteMap::default();
    // What all stacks are below has no name.
    palette.insert("", ALL);
    for (frame, kind) in kinds {
        palette.insert(*frame, kind.color(shade(frame)));
    }
    palette
}

/// A number from a name that spreads names over the shades of a colour (FNV-1a).
fn shade(name: &str) -> u8 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 24) as u8
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::paths::StackPaths;
    use crate::paths::tests::paths;
    use crate::profile::Code;
    use crate::profile::tests::sample_profile;

    /// The same profile gives the same bytes, with every function in them, and kernel frames in their own colour.
    #[test]
    fn the_same_profile_gives_the_same_bytes() {
        let picture = view(&sample_profile(), Limits::default()).unwrap();
        assert_eq!(picture, view(&sample_profile(), Limits::default()).unwrap());
        let svg = String::from_utf8(picture.svg).unwrap();
        assert!(svg.contains("work (9 samples, 90.00%)") && svg.contains("do_sys (3 samples, 30.00%)"));
    }

    /// What is in the picture has its colour in the legend, for which there is a line more; nothing else has.
    #[test]
    fn colours_are_explained() {
        let svg = String::from_utf8(view(&sample_profile(), Limits::default()).unwrap().svg).unwrap();
        let legend = svg.split_once("<g id=\"legend\">").unwrap().1.split_once("</g>").unwrap().0;
        for kind in [Kind::User, Kind::Kernel, Kind::Unnamed] {
            assert!(legend.contains(&format!(">{}</text>", kind.name())), "{legend}");
        }
        assert!(!legend.contains("JIT") && !legend.contains("guessed") && !legend.contains("inlined"), "{legend}");
        let lines = ["prog;main 1".to_owned()];
        let mut options = options(&sample_profile());
        let mut drawn = |legend: &Legend| {
            options.subtitle = Some("short".to_owned());
            String::from_utf8(draw(&mut options, &lines, Limits::default(), None, legend).unwrap()).unwrap()
        };
        let without = drawn(&Legend::default());
        let with = drawn(&Legend { beside: "left out".to_owned(), ..Legend::default() });
        let height = |svg: &str| legend::height(svg.as_bytes()).unwrap();
        assert_eq!(height(&with), height(&without) + 22.0);
        assert!(with.contains("<svg id=\"frames\" y=\"22\"") && with.contains("viewBox=\"0 0 1200 "));
        assert!(with.contains(&format!("viewBox=\"0 0 1200 {}\"", height(&with))), "{with:.600}");
    }

    /// A subtitle that is longer than the picture is wide goes on in lines of its own, above the legend.
    #[test]
    fn a_long_subtitle_is_not_cut() {
        let mut options = options(&sample_profile());
        let parts: Vec<_> = (0..9).map(|part| format!("this is the part with the number {part}")).collect();
        options.subtitle = Some(parts.join("; "));
        let legend = Legend { beside: "left out".to_owned(), ..Legend::default() };
        let svg = draw(&mut options, &["prog;main 1".to_owned()], Limits::default(), None, &legend).unwrap();
        let svg = String::from_utf8(svg).unwrap();
        assert!(parts.iter().all(|part| svg.contains(part)));
        assert!(svg.contains("y=\"70\" text-anchor") && svg.contains("y=\"92\" text-anchor"), "{svg:.3000}");
        assert!(svg.contains("y=\"114\">left out<") && svg.contains("<svg id=\"frames\" y=\"66\""), "{svg:.3000}");
    }

    /// Every kind of frame has its colour; what was guessed is told before all else.
    #[test]
    fn kinds_of_frames() {
        let kinds =
            [("f", false), ("f_[i]", false), ("f_[j]", false), ("f_[k]", false), ("f+0x1_[g]", true), ("f+0x1", true)];
        let kinds = kinds.map(|(frame, unnamed)| Kind::of(frame, unnamed));
        assert_eq!(kinds, [Kind::User, Kind::Inlined, Kind::Jit, Kind::Kernel, Kind::Guessed, Kind::Unnamed]);
        assert_eq!(Kind::of("größe", false), Kind::User);
    }

    /// What has no name is grey also where it is of the kernel, or was made at run time; its neighbours keep their colours.
    #[test]
    fn nameless_frames_of_every_kind() {
        let mut profile = sample_profile();
        for function in &mut profile.functions {
            let (name, code) = match &*function.name {
                "do_sys" => ("[kernel]+0x1", Code::Kernel),
                "work" => ("[JIT]+0x2", Code::Jit),
                _ => continue,
            };
            (function.name, function.code, function.unnamed) = (name.into(), code, true);
        }
        let stacks = StackLines::of(&profile, Annotations::All);
        let kinds = kinds(&profile, stacks.texts());
        assert_eq!([kinds["[kernel]+0x1_[k]"], kinds["[JIT]+0x2_[j]"]], [Kind::Unnamed; 2]);
        assert_eq!(kinds["main"], Kind::User);
    }

    /// Nothing to draw is an error, not an empty picture.
    #[test]
    fn nothing_to_draw_is_an_error() {
        assert!(view(&Profile::default(), Limits::default()).is_err());
    }

    /// A recursion that is thousands of frames deep makes a picture that nobody can look through: a note says how it can be less high. Then
    /// picture and note say how many samples lack frames, and the frames that are there have the samples of all below.
    #[test]
    fn a_deep_picture_can_be_less_high() {
        let mut profile = sample_profile();
        let mut stacks = [0, 1, 2].map(|stack| {
            let mut shown = Vec::new();
            profile.show(stack, &mut shown);
            shown
        });
        let recursion = *stacks[0].last().unwrap();
        stacks[0].extend(vec![recursion; 5_600]);
        let (paths, ends) = paths(&stacks);
        profile.stacks = StackPaths { paths, ends };
        let picture = view(&profile, Limits::default()).unwrap();
        assert!(legend::height(&picture.svg).unwrap() > 80_000.0);
        let note = picture.note.unwrap();
        assert!(note.starts_with("the picture is 8") && note.contains("--max-depth 100"), "{note}");

        let limits = |max_depth| Limits { max_depth: NonZeroUsize::new(max_depth), ..Limits::default() };
        let picture = view(&profile, limits(2)).unwrap();
        let svg = String::from_utf8(picture.svg).unwrap();
        let told = "stacks are drawn 2 frames deep, 90.0% of the samples have more";
        assert_eq!(picture.note.as_deref(), Some(told));
        assert!(legend::height(svg.as_bytes()).unwrap() < 300.0 && svg.contains(told));
        assert!(svg.contains("work (9 samples, 90.00%)") && !svg.contains("do_sys"), "{svg:.3000}");
        let picture = view(&profile, limits(6_000)).unwrap();
        assert_eq!((picture.note, String::from_utf8(picture.svg).unwrap().contains("frames deep")), (None, false));
    }
}
