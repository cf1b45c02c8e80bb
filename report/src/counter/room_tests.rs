//! Tests: recordings that were made to have more distinct stacks than can be kept, most of whose frames they share.

use super::*;

/// Frames that all stacks have in common.
const SHARED: usize = 2_000;

fn frame(address: u64) -> WalkedFrame {
    WalkedFrame { location: Location::Kernel { address }, address, guessed: false }
}

fn thread(tid: u32) -> CountedThread<'static> {
    CountedThread { comm: "main", pid: 1, tid, cpu: None, cgroup: "" }
}

/// Stacks that differ in their innermost frames alone, each seen three times by one of a few threads.
fn count_deep(counter: &mut StackCounter, numbers: std::ops::Range<u64>) {
    let shared = (0..SHARED as u64).map(frame);
    let mut stack: Vec<WalkedFrame> = [frame(0)].into_iter().chain(shared).collect();
    for number in numbers {
        stack[0] = frame(1_000_000 + number);
        counter.count(thread((number % 3) as u32), &stack, Verdict::Complete, 3);
    }
}

/// What a counter has memory for: frames, and stacks with their threads.
fn memory(counter: &StackCounter) -> (usize, usize) {
    (counter.paths.count() + counter.locations.len() + counter.last.capacity(), counter.counts.capacity())
}

/// Distinct stacks without end are not kept; what was not counted is known.
#[test]
fn what_has_no_room_is_known() {
    let ten = |counter: &mut StackCounter| {
        (0..10).for_each(|address| counter.count(thread(1), &[frame(address), frame(1)], Verdict::Complete, 3));
    };
    let mut counter = StackCounter::with_room(100);
    ten(&mut counter);
    assert_eq!((counter.counts.len(), counter.uncounted()), (4, 18));
    // Shares stay right: what is kept is counted to the end, in whatever order it comes.
    ten(&mut counter);
    assert_eq!((counter.counts.len(), counter.uncounted()), (4, 36));
    let mut part = StackCounter::default();
    ten(&mut part);
    counter.absorb(part);
    // Another thread with a stack that is known takes room as well.
    counter.count(thread(2), &[frame(0), frame(1)], Verdict::Complete, 3);
    let uncounted = counter.uncounted();
    let stacks = counter.finish();
    assert_eq!((stacks.stacks.len(), stacks.samples, uncounted), (4, 36, 57));
}

/// Deep stacks that share all frames but one take room for each, as views look at all of its frames; what there is no room for takes no
/// memory, and is known.
#[test]
fn deep_stacks_that_share_their_beginnings_have_no_more_room() {
    let room_of_one = FRAME + room_of_stack(SHARED + 1);
    let room = FRAME * SHARED + 50 * room_of_one;
    let mut counter = StackCounter::with_room(room);
    count_deep(&mut counter, 0..50);
    assert_eq!((counter.uncounted(), counter.room), (0, 0));
    let full = memory(&counter);
    count_deep(&mut counter, 50..5_000);
    assert_eq!(counter.uncounted(), 3 * (5_000 - 50));
    assert_eq!(memory(&counter), full);
    let stacks = counter.finish();
    assert_eq!((stacks.stacks.len(), stacks.paths.count(), stacks.samples), (50, 1 + SHARED + 50, 3 * 50));
}

/// The same where segments come together: each has room for its stacks, and all of them have not.
#[test]
fn segments_of_deep_stacks_have_no_more_room_together() {
    let room = FRAME * SHARED + 50 * (FRAME + room_of_stack(SHARED + 1));
    let mut counter = StackCounter::with_room(room);
    for segment in 0..20 {
        let mut part = StackCounter::of_segment();
        count_deep(&mut part, segment * 40..(segment + 1) * 40);
        assert_eq!(part.uncounted(), 0);
        counter.absorb(part);
    }
    let (frames, stacks) = memory(&counter);
    assert!(frames <= 2 * (SHARED + 51) && stacks <= 200, "{frames} {stacks}");
    let uncounted = counter.uncounted();
    let stacks = counter.finish();
    assert!((40..=50).contains(&stacks.stacks.len()), "{}", stacks.stacks.len());
    assert_eq!((stacks.samples, uncounted), (3 * stacks.stacks.len() as u64, 3 * (800 - stacks.stacks.len() as u64)));
}
