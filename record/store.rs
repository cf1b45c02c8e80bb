//! Where a recording is kept: in one file, in files one after the other, or its last minutes in memory.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use profrec_format::StopReason;

use crate::amounts::Rotation;
use crate::args::RecordArgs;
use crate::flight_recorder::FlightRecorder;
use crate::output::Output;
use crate::part_files::PartFiles;
use crate::progress::put;
use crate::sink::Sink;

/// A part ends when it has this share of what all parts may have: what is thrown away is thrown away whole.
const SHARE: u64 = 8;

/// Where a recording is kept.
pub(crate) enum Store {
    /// One file, or the standard output.
    One { path: PathBuf, max_size: Option<u64> },
    /// A file for each part.
    Files(PartFiles, Rotation),
    /// Memory, and files for what is written out.
    Memory(Box<FlightRecorder>),
}

/// When a part ends; at once, when either is reached.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartEnd {
    pub(crate) time: Option<Duration>,
    pub(crate) bytes: Option<u64>,
}

/// What became of a recording, for the summary.
pub(crate) struct Kept {
    /// The file that was written last; `-` for the standard output.
    pub(crate) path: PathBuf,
    /// What there is, and what to do with it.
    pub(crate) lines: Vec<String>,
    /// Something that was asked for could not be written; it has been told.
    pub(crate) failed: bool,
}

impl Store {
    /// Opens what the first part goes to.
    pub(crate) fn open(args: &RecordArgs) -> Result<(Self, Sink)> {
        let files = || PartFiles::new(&args.output, args.keep.map(|count| count as usize), args.max_size, args.sync);
        if let Some(time) = args.ring {
            let recorder = FlightRecorder::new(time, args.ring_memory, files()?, args.quiet);
            return Ok((Self::Memory(Box::new(recorder)), Sink::Memory(Vec::new())));
        }
        if let Some(rotation) = args.rotate {
            let mut files = files()?;
            let first = begin(&mut files)?;
            return Ok((Self::Files(files, rotation), first));
        }
        let output = Output::open(&args.output, args.force, args.sync)?;
        let store = Self::One { path: args.output.clone(), max_size: args.max_size };
        Ok((store, Sink::File(output)))
    }

    /// The file that is being written, when there is one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::One { path, .. } => Some(path.clone()),
            Self::Files(files, _) => Some(files.path()),
            Self::Memory(_) => None,
        }
    }

    /// Whether files can still be created now that rights were given up: else they could not when they are needed.
    pub(crate) fn require_place(&self) -> Result<()> {
        let files = match self {
            Self::One { .. } => return Ok(()),
            Self::Files(files, _) => files,
            Self::Memory(recorder) => recorder.files(),
        };
        files.may_create().with_context(|| {
            let folder = files.folder().display();
            format!("{folder} has to belong to the account that records, which gives up all other rights: see --user, or use another place with -o")
        })
    }

    /// What to watch for a reader that goes away. A file has none, and a part that was deleted would keep its room as long as it is watched.
    pub(crate) fn watched(sink: &Sink) -> Result<Option<OwnedFd>> {
        match sink {
            Sink::File(output) if !output.is_own_file() => {
                Ok(Some(output.as_fd().try_clone_to_owned().context("watching the output")?))
            }
            Sink::File(_) | Sink::Part(..) | Sink::Memory(_) => Ok(None),
        }
    }

    /// When parts end.
    pub(crate) fn part_end(&self) -> PartEnd {
        match self {
            Self::One { .. } => PartEnd::default(),
            Self::Files(files, rotation) => {
                let share = files.max_size().map(|bytes| bytes / SHARE);
                match *rotation {
                    Rotation::Time(time) => PartEnd { time: Some(time), bytes: share },
                    Rotation::Size(bytes) => {
                        PartEnd { time: None, bytes: Some(share.map_or(bytes, |share| share.min(bytes))) }
                    }
                }
            }
            Self::Memory(recorder) => recorder.part_end(SHARE),
        }
    }

    /// Bytes from which on the whole recording is as good as full. There is some room left then, for what belongs to the samples.
    pub(crate) fn full_at(&self) -> Option<u64> {
        match self {
            Self::One { max_size, .. } => max_size.map(|bytes| bytes - bytes / 16),
            Self::Files(..) | Self::Memory(_) => None,
        }
    }

    /// Begins a part.
    pub(crate) fn begin(&mut self) -> Result<Sink> {
        match self {
            Self::Files(files, _) => begin(files),
            Self::One { .. } | Self::Memory(_) => Ok(Sink::Memory(Vec::new())),
        }
    }

    /// Takes back what was begun and could not even be given its header.
    pub(crate) fn take_back(&mut self) {
        if let Self::Files(files, _) = self {
            files.take_back();
        }
    }

    /// Takes a part that was closed, when the next has begun; what is too old goes.
    pub(crate) fn take(&mut self, part: Sink) {
        match (self, part) {
            (Self::Memory(recorder), Sink::Memory(bytes)) => recorder.take(bytes),
            (Self::Files(files, _), part) => leave(files, Some(part)),
            _ => {}
        }
    }

    /// How many bytes a part may have.
    pub(crate) fn limit(&self) -> Option<u64> {
        match self {
            Self::One { max_size, .. } => *max_size,
            Self::Files(files, _) => files.usable(),
            Self::Memory(_) => None,
        }
    }

    /// What was recorded is asked for now, for this reason. False when nothing is done about it.
    pub(crate) fn ask(&mut self, why: &str) -> bool {
        match self {
            Self::One { .. } => {
                put(&format!("profrec: {why} means something with --rotate or --ring only: nothing was done\n"));
                false
            }
            Self::Files(..) => true,
            Self::Memory(recorder) => {
                recorder.ask(why);
                true
            }
        }
    }

    /// Goes on with what is being written beside the recording. `fresh`: the last part has just ended.
    pub(crate) fn tend(&mut self, fresh: bool) {
        if let Self::Memory(recorder) = self {
            recorder.tend(fresh);
        }
    }

    /// Takes the last part; `part` is what there is of it.
    pub(crate) fn close(self, part: Option<Sink>, stop: StopReason) -> Kept {
        match self {
            Self::Memory(mut recorder) => {
                if let Some(Sink::Memory(bytes)) = part {
                    recorder.take(bytes);
                }
                recorder.close(stop)
            }
            Self::Files(mut files, _) => {
                leave(&mut files, part);
                Kept { path: files.path(), lines: told_of_files(&files), failed: false }
            }
            Self::One { path, .. } => {
                let piped = path == Path::new("-");
                let next = (!piped).then(|| format!("Next: profrec report {}", path.display()));
                Kept { path, lines: next.into_iter().collect(), failed: false }
            }
        }
    }
}

/// Begins a file. The oldest make room for it when it needs some.
fn begin(files: &mut PartFiles) -> Result<Sink> {
    let output = files.begin()?;
    Ok(match files.room() {
        Some(room) => Sink::Part(output, room),
        None => Sink::File(output),
    })
}

/// A file has ended, and the next has begun if there is one.
fn leave(files: &mut PartFiles, part: Option<Sink>) {
    if let Some(Sink::Part(_, room)) = &part {
        files.leave(room);
    }
    files.delete_beyond_keep();
}

fn told_of_files(files: &PartFiles) -> Vec<String> {
    let (begun, deleted) = files.counts();
    let deleted = if deleted > 0 { format!("; deleted: {deleted}") } else { String::new() };
    vec![
        format!("  parts: {begun}, of which there are {}{deleted}", files.range()),
        format!("Next: profrec report {}", files.path().display()),
        format!("  or: profrec report --merge {} -o all.prof", files.pattern()),
    ]
}
