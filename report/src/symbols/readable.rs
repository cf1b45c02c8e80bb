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
    let key = |raw: &Arc<str>| match how.fold_clones.then(|| without_clone(raw)) {
        Some(name) if name.len() < raw.len() => Arc::from(name),
        _ => raw.clone(),
    };
    let mut names = Texts::of(frames.iter().flatten().map(|frame| &frame.name));
    let raw: HashSet<Arc<str>> = names.all().map(key).collect();
    let unknown: Vec<Arc<str>> = raw.into_iter().filter(|raw| !known.readable().contains_key(raw)).collect();
    let made = unknown.into_par_iter().map(|raw| {
        let readable = demangle(&raw);
        (raw, Arc::from(readable))
    });
    known.learn_names(made.collect::<Vec<_>>());
    names.replace(|raw| known.readable().get(&key(raw)).unwrap_or(raw).clone());
    let mut files = Texts::of(frames.iter().flatten().filter_map(|frame| frame.file.as_ref()));
    let mut known_files: HashMap<Arc<str>, Arc<str>> = HashMap::default();
    files.replace(|file| known_files.entry(file.clone()).or_insert_with(|| file.clone()).clone());
    for frame in frames.iter_mut().flatten() {
        names.put(&mut frame.name);
        frame.file.iter_mut().for_each(|file| files.put(file));
    }
}

/// Texts by where they are, for most frames share theirs, and what takes the place of each. All are kept, so that no other comes
/// to the place of one.
struct Texts(HashMap<usize, (Arc<str>, Arc<str>)>);

impl Texts {
    fn of<'t>(texts: impl Iterator<Item = &'t Arc<str>>) -> Self {
        let mut found = HashMap::default();
        for text in texts {
            found.entry(text.as_ptr().addr()).or_insert_with(|| (text.clone(), text.clone()));
        }
        Self(found)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.values().map(|(text, _)| text)
    }

    fn replace(&mut self, mut other: impl FnMut(&Arc<str>) -> Arc<str>) {
        self.0.values_mut().for_each(|(text, replaced)| *replaced = other(text));
    }

    fn put(&self, text: &mut Arc<str>) {
        if let Some((_, replaced)) = self.0.get(&text.as_ptr().addr()) {
            *text = replaced.clone();
        }
    }
}
