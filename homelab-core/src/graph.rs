//! What depends on what: an order to act in, the cycle that forbids one, and who waits for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// For each key, the keys that must come before it.
pub type Edges<K> = BTreeMap<K, BTreeSet<K>>;

/// Keys that wait for each other: each for the next one, the last for the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle<K>(pub Vec<K>);

impl<K: fmt::Display> fmt::Display for Cycle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in &self.0 {
            write!(f, "{key} → ")?;
        }
        self.0.first().map_or(Ok(()), |first| write!(f, "{first}"))
    }
}

impl<K: fmt::Display + fmt::Debug> std::error::Error for Cycle<K> {}

/// All keys (also those that are only named as a dependency), each after everything it depends on, and in the keys' own
/// order where the graph leaves a choice.
pub fn order<K: Ord + Clone>(edges: &Edges<K>) -> Result<Vec<K>, Cycle<K>> {
    let mut open: BTreeMap<&K, BTreeSet<&K>> = BTreeMap::new();
    let mut dependants: BTreeMap<&K, Vec<&K>> = BTreeMap::new();
    for (key, needs) in edges {
        open.entry(key).or_default().extend(needs);
        for need in needs {
            open.entry(need).or_default();
            dependants.entry(need).or_default().push(key);
        }
    }
    let mut free: BTreeSet<&K> = open.iter().filter(|(_, needs)| needs.is_empty()).map(|(key, _)| *key).collect();
    let mut sorted = Vec::with_capacity(open.len());
    while let Some(key) = free.pop_first() {
        open.remove(key);
        sorted.push(key.clone());
        for dependant in dependants.get(key).into_iter().flatten() {
            if let Some(needs) = open.get_mut(dependant) {
                needs.remove(key);
                if needs.is_empty() {
                    free.insert(dependant);
                }
            }
        }
    }
    if open.is_empty() { Ok(sorted) } else { Err(cycle_in(&open)) }
}

/// Finds a cycle where every key still has an unmet dependency: following any of them must come back.
fn cycle_in<K: Ord + Clone>(open: &BTreeMap<&K, BTreeSet<&K>>) -> Cycle<K> {
    let mut path: Vec<&K> = Vec::new();
    let mut at = open.keys().next().copied();
    while let Some(key) = at {
        if let Some(start) = path.iter().position(|seen| *seen == key) {
            path.drain(..start);
            break;
        }
        path.push(key);
        at = open.get(key).and_then(|needs| needs.first()).copied();
    }
    Cycle(path.into_iter().cloned().collect())
}

/// The direct dependencies of `key` that are not yet met, in order. Empty: it may go ahead.
pub fn waits_for<'a, K: Ord>(edges: &'a Edges<K>, key: &K, met: impl Fn(&K) -> bool) -> Vec<&'a K> {
    edges.get(key).into_iter().flatten().filter(|need| !met(need)).collect()
}

#[cfg(test)]
mod tests;
