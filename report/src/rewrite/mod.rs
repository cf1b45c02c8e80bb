//! Recordings made of recordings: a part, the sum of parts, and one without stacks.
//!
//! ```text
//! recording ─► cut    the samples of a time, and what there was when it began ─┐
//! parts     ─► merge  one after the other, with modules numbered anew         ─┼► output ─► recording
//! recording ─► scrub  evidence, replay, unwind: locations for stack words     ─┘
//! ```
//!
//! All go segment by segment, and each segment becomes one segment: no more than one is in memory. What cannot be
//! read is left out, told, and counted as lost.

mod cut;
mod merge;
mod module_ids;
mod output;
mod reading;
mod redact;
mod scrub;
mod span;
mod start;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
mod ticks;

use std::path::Path;

use anyhow::{Result, bail};

use crate::args::Args;
use crate::escape;
use output::Output;

/// Writes the recording that the command line asks for, and says so.
pub fn run(args: &Args) -> Result<()> {
    let rewrite = &args.rewrite;
    let (Some(path), input) = (&rewrite.output, args.file.as_deref()) else { bail!("-o says where to write to") };
    let open = |header: &profrec_format::Header, inputs: &[&Path]| Output::create(path, rewrite.force, inputs, header);
    let written = match (&rewrite.cut, &rewrite.merge, input) {
        (_, Some(parts), _) => merge::merge(parts, open)?,
        (Some(range), _, Some(input)) => cut::cut(input, *range, open)?,
        (None, None, Some(input)) => scrub::scrub(input, args, open)?,
        (_, None, None) => bail!("there is no recording to read"),
    };
    for note in &written.notes {
        eprintln!("note: {}", escape::text(note));
    }
    let text = escape::text(&format!("wrote {}: {}", path.display(), written.text())).into_owned();
    if path == Path::new("-") {
        eprintln!("{text}");
        return Ok(());
    }
    crate::pipeline::print(&format!("{text}\n"))
}
