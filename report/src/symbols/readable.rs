//! Names as people wrote them, each made once: a profile asks for the same few over and over, and demangling is slow.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use rayon::prelude::*;

use super::Wanted;
use super::cache::Remembered;
use super::demangle::{demangle, without_clone};
use super::module::RawFrame;

/// Puts readable names and shared files in the place of those that stand in the module's files.
pub(super) fn make(frames: &mut [Vec<RawFrame>], how: &Wanted, known: &mut Remembered<'_>) {
    let key = |raw: &Arc<str>| match without_clone(raw) {
        name if how.fold_clones && name.len() < raw.len() => Arc::from(name),
        _ => raw.clone(),
    };
    let raw: HashSet<Arc<str>> = frames.iter().flatten().map(|frame| key(&frame.name)).collect();
    let unknown: Vec<Arc<str>> = raw.into_iter().filter(|raw| !known.readable().contains_key(raw)).collect();
    let names = unknown.into_par_iter().map(|raw| {
        let readable = demangle(&raw);
        (raw, Arc::from(readable))
    });
    known.learn_names(names.collect::<Vec<_>>());
    let mut files: HashMap<Arc<str>, Arc<str>> = HashMap::default();
    for frame in frames.iter_mut().flatten() {
        if let Some(name) = known.readable().get(&key(&frame.name)) {
            frame.name = name.clone();
        }
        if let Some(file) = &mut frame.file {
            *file = files.entry(file.clone()).or_insert_with(|| file.clone()).clone();
        }
    }
}
