//! The way of a recording through the analyzer, and of the result to where it was asked for.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use profrec_format::{Part, Recording};

use crate::args::Args;
use crate::check::Check;
use crate::collect::collect;
use crate::diff::Diff;
use crate::evidence::Evidence;
use crate::facts::Facts;
use crate::ledger::grouped;
use crate::local_files::LocalFiles;
use crate::measurements::Measurements;
use crate::profile::Profile;
use crate::progress;
use crate::recording_file::RecordingFile;
use crate::rewrite;
use crate::symbols::{Cache, Names, Wanted};
use crate::views::flamegraph::Picture;
use crate::views::top::Rows;
use crate::views::{self, Page};

/// Functions in a table, unless `--limit` says otherwise.
const TABLE_LIMIT: usize = 30;
/// Branches of a smaller share are left out of a tree, unless `--min-percent` says otherwise.
const TREE_PERCENT: f64 = 1.0;

/// Processes of which is told why their code has no names.
const JIT_NOTES: usize = 5;

/// Does what the command line asks for, and gives the exit status.
pub fn run(args: &Args) -> Result<u8> {
    if let Some(folder) = args.symbols.iter().find(|folder| !folder.is_dir()) {
        bail!("--symbols {}: there is no such folder", folder.display());
    }
    if args.rewrite.is_asked_for() {
        rewrite::run(args)?;
        return Ok(0);
    }
    let (file, why) = args.file_and_why();
    match (args.diff.as_deref(), file) {
        (Some([before, after]), _) => show_diff(args, &load(args, before)?, &load(args, after)?)?,
        (_, Some(file)) if args.check => return check(args, file),
        (_, Some(file)) if args.view.own => show_recorder(args, file)?,
        (_, Some(file)) if why.is_some() => show_why(args, &load(args, file)?, why.flatten())?,
        (_, Some(file)) => show(args, &load(args, file)?)?,
        (_, None) => bail!("which recording? profrec report FILE --why [MODULE]"),
    }
    Ok(0)
}

/// Says whether a recording is whole.
fn check(args: &Args, path: &Path) -> Result<u8> {
    let file = RecordingFile::open(path)?;
    let recording = Recording::open(file.bytes()).with_context(|| format!("cannot read {}", path.display()))?;
    let check = Check::of(&recording);
    print(&if args.view.json { check.json()? } else { check.text() })?;
    Ok(check.outcome().exit_status())
}

/// Shows what the recorder measured of itself.
fn show_recorder(args: &Args, path: &Path) -> Result<()> {
    let file = RecordingFile::open(path)?;
    let part = Part { metrics: true, ..args.filter.filter().part() };
    let recording = Recording::open_part(file.bytes(), &part);
    let recording = recording.with_context(|| format!("cannot read {}", path.display()))?;
    let measurements = Measurements::gather(&recording, part.from, part.to);
    let limit = args.view.limit.unwrap_or(views::recorder::ROWS);
    if args.view.json {
        return print(&views::json::print(&views::recorder::Recorder::new(&measurements, limit))?);
    }
    let damage: String = recording.damage().iter().map(|damage| format!("note: the recording is {damage}\n")).collect();
    print(&(views::recorder::view(&measurements, limit, recording.header().cpus) + &damage))
}

/// From a file to a profile.
fn load(args: &Args, path: &Path) -> Result<Profile> {
    let _shown = progress::show();
    let reading = progress::doing("reading", 0);
    let file = RecordingFile::open(path)?;
    let filter = args.filter();
    let recording = Recording::open_part(file.bytes(), &filter.part());
    let recording = recording.with_context(|| format!("cannot read {}", path.display()))?;
    let (evidence, numbers) = Evidence::gather(&recording);
    drop(reading);
    let sources = args.sources();
    let mut files = sources.as_ref().map(|sources| LocalFiles::find(&evidence, sources)).unwrap_or_default();
    let collected = collect(&recording, (&evidence, &numbers), &files, &filter);
    let mut facts = Facts::gather(&recording);
    if args.view.json {
        facts.measurements = Measurements::gather(&recording, filter.from, filter.to);
    }
    // All of it has been read, and what of it is in memory may go.
    drop(recording);
    drop(file);
    if let Some(sources) = &sources {
        files.find_kernel(&evidence, &facts.header, sources);
        files.fetch(&evidence, &collected.stacks.samples_by_module(evidence.modules.len()), sources);
    }
    let names = Names::find(&collected.stacks.locations, &evidence, &files, &wanted(args));
    facts.learn(&collected);
    facts.compare_samples(&collected.by_cpu);
    facts.pace = evidence.pace.clone();
    facts.raw_stacks = evidence.raw_stacks;
    if collected.not_walked > 0 {
        let samples = grouped(collected.not_walked);
        facts.damage.push(format!("larger than it can be: {samples} samples have unwind information without end"));
    }
    if collected.uncounted > 0 {
        let samples = grouped(collected.uncounted);
        facts.damage.push(format!(
            "too large to be shown at once: {samples} samples of further stacks are left out; --time, --pid or --comm choose a part"
        ));
    }
    if evidence.is_cut {
        facts.damage.push("larger than it can be: of its unwind information and names, only 1 GiB is used".to_owned());
    }
    let mut profile = Profile::build(facts, &evidence, collected.stacks, &names, &args.shape())?;
    if names.lacks_jit_names() {
        profile.ledger.notes.extend(evidence.jit.troubles().take(JIT_NOTES));
    }
    Ok(profile)
}

/// What of names the view shows.
fn wanted(args: &Args) -> Wanted {
    Wanted {
        inlines: !args.no_inline,
        lines: args.needs_lines(),
        fold_clones: args.fold_clones,
        cache: if args.no_cache { None } else { Cache::of_user() },
    }
}

/// Shows one profile. The ledger stands under every view; where the view is for other programs,
/// it goes to standard error.
fn show(args: &Args, profile: &Profile) -> Result<()> {
    let (view, page) = (&args.view, Page::of_stdout(args.view.color));
    let rows = |limit| Rows {
        sort: view.sort,
        limit: view.limit.unwrap_or(limit),
        min_percent: view.min_percent.unwrap_or(0.0),
    };
    let ledger = profile.ledger.text();
    if let Some(path) = &view.flamegraph {
        return write_picture(path, views::flamegraph::view(profile, view.limits()), &ledger);
    }
    if view.json {
        return print(&views::json::view(profile, rows(0))?);
    }
    if view.folded {
        views::folded::require_room(profile)?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        written(views::folded::write(profile, &mut out).and_then(|()| out.flush()))?;
        eprint!("{ledger}");
        return Ok(());
    }
    let text = if view.tree || profile.side.is_some() {
        views::tree::view(profile, view.min_percent.unwrap_or(TREE_PERCENT), page)
    } else if view.info {
        views::info::view(profile)
    } else {
        views::top::view(profile, rows(TABLE_LIMIT), page)
    };
    print(&format!("{text}\n{ledger}"))
}

/// Shows where the names of one module or of all come from, and what was looked at for them.
fn show_why(args: &Args, profile: &Profile, module: Option<&str>) -> Result<()> {
    let modules = views::why::choose(profile, module);
    let ledger = profile.ledger.text();
    if let (Some(module), true) = (module, modules.is_empty()) {
        eprint!("{ledger}");
        bail!("no module with samples has {module:?} in its path; --info lists them");
    }
    if args.view.json {
        return print(&views::why::json(profile, &modules)?);
    }
    let blank = if modules.is_empty() { "" } else { "\n" };
    print(&format!("{}{blank}{ledger}", views::why::view(&modules)))
}

/// Shows what changed between two profiles.
fn show_diff(args: &Args, before: &Profile, after: &Profile) -> Result<()> {
    let view = &args.view;
    let min_percent = view.min_percent.unwrap_or(0.0);
    let diff = Diff::compare(before, after);
    let ledger = format!("before:\n{}after:\n{}", before.ledger.text(), after.ledger.text());
    if let Some(path) = &view.flamegraph {
        return write_picture(path, views::diff::flame_graph(before, after, view.limits()), &ledger);
    }
    if view.json {
        return print(&views::json::diff::view(&diff, view.limit.unwrap_or(0), min_percent)?);
    }
    if view.folded {
        print(&views::diff::folded(before, after)?)?;
        eprint!("{ledger}");
        return Ok(());
    }
    let page = Page::of_stdout(view.color);
    let text = views::diff::view(&diff, view.limit.unwrap_or(TABLE_LIMIT), min_percent, page);
    print(&format!("{text}\n{ledger}"))
}

/// Writes a picture to a file and says so, or to standard output. The ledger also tells why there is nothing to draw.
fn write_picture(path: &Path, picture: io::Result<Picture>, ledger: &str) -> Result<()> {
    let picture = picture.inspect_err(|_| eprint!("{ledger}")).context("cannot draw the flame graph")?;
    let note = picture.note.map_or_else(String::new, |note| format!("note: {note}\n"));
    if path == Path::new("-") {
        write_out(&picture.svg)?;
        eprint!("{ledger}{note}");
        return Ok(());
    }
    fs::write(path, picture.svg).with_context(|| format!("cannot write the flame graph to {}", path.display()))?;
    print(&format!("wrote {}: open it in a browser\n{ledger}{note}", path.display()))
}

pub(crate) fn print(text: &str) -> Result<()> {
    write_out(text.as_bytes())
}

fn write_out(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

/// What came of writing to standard output. A reader that has seen enough, such as `head`, is no error.
fn written(outcome: io::Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write to standard output"),
    }
}
