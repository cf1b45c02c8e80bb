//! What neighbouring samples share, on stacks that were made for it.

use profrec_format::{StackWord, UserStack};
use proptest::prelude::*;

use super::super::fixture::{BASE, Program, stack};
use super::{FRAME_POINTER, THREE_WORDS};
use crate::stacks::Location;

/// `def_cfa_offset 32; offset rbx at cfa - 16`: a function that saves rbx.
const SAVES: [u8; 4] = [0x0e, 32, 0x83, 2];
/// `def_cfa rbx + 16`: a function whose frame is told by rbx.
const BY_RBX: [u8; 3] = [0x0c, 3, 16];

/// Five functions that call each other, from the same place or another, with rbx and rbp saved on the way; and code
/// without call frame information from 0x7000 on.
fn program() -> Program {
    let program = Program::new().function(0x1000, &[]).function(0x2000, &THREE_WORDS).function(0x3000, &FRAME_POINTER);
    program.function(0x4000, &SAVES).function(0x5000, &BY_RBX).function(0x6000, &[0x07, 16, 0])
}

/// A register that no frame in between has saved decides where an outer frame goes on, although all words there are the same.
#[test]
fn a_register_from_the_inside_is_not_forgotten() {
    let words = [(0x5000, BASE + 0x2010), (0x5020, BASE + 0x5010), (0x5048, BASE + 0x6010), (0x5068, BASE + 0x6020)];
    let sample = |rbx| {
        let mut stack = stack(0x1000, &[(0x5000, 0x5100)], &words);
        stack.registers.set(3, rbx);
        stack
    };
    let [shared, whole] = program().walk_both_ways(&[sample(0x5040), sample(0x5060), sample(0x5060)]);
    assert_eq!(shared, whole);
    assert_ne!(shared[0], shared[1]);
}

/// The same frames found again in a search have other names when other code was made there in the meantime, as in a walk without sharing.
#[test]
fn a_search_does_not_remember_names() {
    let words = [(0x5018, BASE + 0x2010), (0x5038, BASE + 0x6010)];
    let stack = stack(0x7010, &[(0x5000, 0x5100)], &words);
    let [shared, whole] =
        program().made_at_run_time(0x2000, &["f", "g"]).walk_both_ways(&[stack.clone(), stack.clone(), stack]);
    assert_eq!(shared, whole);
    let location = |walk: usize| shared[walk].0[1].location;
    assert_eq!([0, 1, 2].map(location), [0, 1, 1].map(|name| Location::Jit { name }));
}

prop_compose! {
    /// A stack, and how one sample differs from another: where it is, how much of it is captured, which words.
    fn any_samples()(
        words in proptest::collection::vec((0u64..40, any_value()), 4..24),
        changes in proptest::collection::vec(
            (0u64..12, 0usize..32, any_value(), 0u64..7, any_value(), any_value(), 0u64..4),
            1..12,
        ),
    ) -> Vec<UserStack> {
        let mut words: Vec<_> = words.into_iter().map(|(place, value)| (0x5000 + 8 * place, value)).collect();
        let mut stacks = Vec::new();
        for (sp, place, value, ip, rbx, rbp, gap) in changes {
            let place = place % words.len();
            words[place].1 = value;
            stacks.push(sample(&words, 0x5000 + 8 * sp, BASE + 0x1000 * (1 + ip), (rbx, rbp), gap));
        }
        stacks
    }
}

fn any_value() -> impl Strategy<Value = u64> {
    let code = (1u64..8, 0u64..3).prop_map(|(function, place)| BASE + 0x1000 * function + 0x10 * place);
    prop_oneof![3 => code, 2 => (0u64..40).prop_map(|place| 0x5000 + 8 * place)]
}

fn sample(words: &[(u64, u64)], sp: u64, ip: u64, (rbx, rbp): (u64, u64), gap: u64) -> UserStack {
    let ranges = if gap == 0 { vec![(sp, 0x5140)] } else { vec![(sp, 0x5060 + 8 * gap), (0x5080, 0x5140)] };
    let mut stack = stack(0, &ranges, &[]);
    stack.ip = ip;
    let words = words.iter().filter(|(address, _)| ranges.iter().any(|(start, end)| (*start..*end).contains(address)));
    stack.words = words.map(|&(address, value)| StackWord { address, value }).collect();
    stack.words.sort_unstable_by_key(|word| word.address);
    stack.words.dedup_by_key(|word| word.address);
    stack.registers.set(3, rbx);
    stack.registers.set(6, rbp);
    stack
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    /// Whatever the samples of a thread have in common and not: frames and verdicts are those of whole walks.
    #[test]
    fn any_samples_are_walked_alike(stacks in any_samples()) {
        let [shared, whole] = program().walk_both_ways(&stacks);
        prop_assert_eq!(shared, whole);
    }
}
