//! Changes to a seed.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;

/// So many cases at least; `PROPTEST_CASES` asks for more.
pub(crate) fn config() -> Config {
    let default = Config::default();
    Config { cases: default.cases.max(2000), ..default }
}

#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, usize),
    Repeat(Index, usize, usize),
    Cut(Index),
}

/// One of the seeds with up to six changes; `words` are put in where they hurt.
pub(crate) fn changed(seeds: Vec<Vec<u8>>, words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 1..4),
    ];
    let change = prop_oneof![
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), word).prop_map(|(at, word)| Change::Insert(at, word)),
        (any::<Index>(), 1..20usize).prop_map(|(at, len)| Change::Delete(at, len)),
        (any::<Index>(), 1..40usize, 1..60usize).prop_map(|(at, len, times)| Change::Repeat(at, len, times)),
        any::<Index>().prop_map(Change::Cut),
    ];
    (prop::sample::select(seeds), prop::collection::vec(change, 0..6))
        .prop_map(|(seed, changes)| changes.iter().fold(seed, apply))
}

fn apply(mut text: Vec<u8>, change: &Change) -> Vec<u8> {
    let place = |at: &Index| at.index(text.len() + 1);
    match change {
        Change::Flip(at, bit) => {
            let at = place(at);
            if let Some(byte) = text.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Change::Set(at, value) => {
            let at = place(at);
            if let Some(byte) = text.get_mut(at) {
                *byte = *value;
            }
        }
        Change::Insert(at, word) => {
            let at = place(at);
            text.splice(at..at, word.iter().copied());
        }
        Change::Delete(at, len) => {
            let at = place(at);
            text.drain(at..(at + len).min(text.len()));
        }
        Change::Repeat(at, len, times) => {
            let at = place(at);
            let part = text[at..(at + len).min(text.len())].repeat(*times);
            text.splice(at..at, part);
        }
        Change::Cut(at) => text.truncate(place(at)),
    }
    text
}
