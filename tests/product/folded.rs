//! Stacks as the report prints them with `--folded`: `comm;root;...;leaf COUNT`.

use std::fmt;

/// Folded stacks.
pub(crate) struct Folded(Vec<(Vec<String>, u64)>);

impl Folded {
    /// Reads what `--folded` printed.
    pub(crate) fn parse(text: &str) -> Self {
        let stack = |line: &str| {
            let (frames, count) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a folded stack: {line}"));
            let count = count.parse().unwrap_or_else(|error| panic!("not a folded stack: {line}: {error}"));
            // What was guessed counts like everything else: that it was has its own tests.
            let name = |frame: &str| frame.trim_end_matches("_[g]").to_owned();
            (frames.split(';').map(name).collect(), count)
        };
        Self(text.lines().map(stack).collect())
    }

    /// All samples.
    pub(crate) fn samples(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The share of the samples whose stack is like `pattern`.
    pub(crate) fn share(&self, pattern: &str) -> f64 {
        self.of(|frames| is_like(user_part(frames), pattern)) as f64 / self.samples().max(1) as f64
    }

    /// Samples of threads with this name.
    pub(crate) fn of_comm(&self, comm: &str) -> u64 {
        self.of(|frames| frames[0] == comm)
    }

    /// Samples with the kernel on top.
    pub(crate) fn in_kernel(&self) -> u64 {
        self.of(|frames| frames.iter().any(|frame| is_kernel(frame)))
    }

    /// The stacks' user parts, root first, behind the comm.
    pub(crate) fn stacks(&self) -> impl Iterator<Item = &[String]> {
        self.0.iter().map(|(frames, _)| user_part(frames))
    }

    fn of(&self, belongs: impl Fn(&[String]) -> bool) -> u64 {
        self.0.iter().filter(|(frames, _)| belongs(frames)).map(|(_, count)| count).sum()
    }
}

/// The most frequent stacks, for the message of a failed test.
impl fmt::Display for Folded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (frames, count) in sorted.iter().take(15) {
            writeln!(out, "  {count:>6} {}", frames.join(";"))?;
        }
        write!(out, "  of {} samples in {} stacks", self.samples(), self.0.len())
    }
}

fn is_kernel(frame: &str) -> bool {
    frame.ends_with("_[k]")
}

/// Without the kernel frames at the leaf's end: an interrupt can hit anywhere.
fn user_part(frames: &[String]) -> &[String] {
    let kernel = frames.iter().position(|frame| is_kernel(frame)).unwrap_or(frames.len());
    &frames[..kernel]
}

/// Whether a stack is like a pattern: names in a row, where `...` stands for any frames or none,
/// and `*` at a name's end for any rest of it. The fixtures' inlined `burn` may follow the leaf.
pub(crate) fn is_like(frames: &[String], pattern: &str) -> bool {
    let pattern: Vec<&str> = pattern.split(';').collect();
    let without_burn = frames.strip_suffix(&["burn".to_owned()]).unwrap_or(frames);
    is_like_from(frames, &pattern) || is_like_from(without_burn, &pattern)
}

fn is_like_from(frames: &[String], pattern: &[&str]) -> bool {
    match (pattern.split_first(), frames.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), None) => is_like_from(frames, rest),
        (Some((&"...", rest)), Some((_, fewer))) => is_like_from(frames, rest) || is_like_from(fewer, pattern),
        (Some((name, rest)), Some((frame, fewer))) => is_named(frame, name) && is_like_from(fewer, rest),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn is_named(frame: &str, name: &str) -> bool {
    name.strip_suffix('*').map_or(frame == name, |start| frame.starts_with(start))
}

/// Patterns mean what they say: the other tests stand on them.
#[test]
fn patterns_match_what_they_say() {
    let folded = Folded::parse("app;_start;main;outer;spin 3\napp;_start;main;outer;spin;tick_[k] 1\n");
    assert_eq!(folded.share("app;...;main;outer;spin"), 1.0);
    assert_eq!(folded.share("app;main;outer;spin"), 0.0);
    assert_eq!(folded.share("app;...;main;outer"), 0.0);
    assert_eq!(folded.share("app;_st*;...;spin"), 1.0);
    assert_eq!(folded.in_kernel(), 1);
    assert_eq!(folded.of_comm("app"), 4);
}
