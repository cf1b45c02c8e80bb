//! When what stands in a growing file was first seen: a perf map tells no times.

/// Sizes that are remembered of one file.
const MARKS: usize = 1024;

/// How long a file was at which times.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// Ascending sizes, with the time at which the file was first seen to be so long.
    marks: Vec<(u64, u64)>,
}

impl Growth {
    /// The file has this size now. A file that has become shorter was written anew.
    pub(crate) fn note(&mut self, size: u64, time: u64) {
        if size < self.size() {
            self.marks.clear();
        }
        if size == self.size() {
            return;
        }
        if self.marks.len() >= MARKS {
            // Of two that follow each other the later one is true of both.
            let mut place = 0;
            self.marks.retain(|_| {
                place += 1;
                place % 2 == 0
            });
        }
        self.marks.push((size, time));
    }

    /// Its last known size.
    pub(crate) fn size(&self) -> u64 {
        self.marks.last().map_or(0, |(size, _)| *size)
    }

    /// When the bytes before this place were first seen.
    pub(crate) fn seen(&self, end: u64) -> Option<u64> {
        let after = self.marks.partition_point(|(size, _)| *size < end);
        self.marks.get(after).map(|(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes were seen with the first look that found the file long enough.
    #[test]
    fn bytes_have_the_time_of_their_look() {
        let mut growth = Growth::default();
        for (size, time) in [(100, 1), (100, 2), (300, 3)] {
            growth.note(size, time);
        }
        assert_eq!([1, 100, 101, 300, 301].map(|end| growth.seen(end)), [Some(1), Some(1), Some(3), Some(3), None]);
        growth.note(50, 4);
        assert_eq!((growth.size(), growth.seen(50), growth.seen(51)), (50, Some(4), None));
    }

    /// A file that grows for ever takes no more memory, and no byte is seen before it was there.
    #[test]
    fn marks_are_bounded() {
        let mut growth = Growth::default();
        for time in 1..100_000 {
            growth.note(10 * time, time);
        }
        assert!(growth.marks.len() <= MARKS);
        for end in (10..999_000).step_by(777) {
            assert!(growth.seen(end).is_some_and(|seen| seen >= end.div_ceil(10)));
        }
    }
}
