//! The store against a model of it that is plain to see: any run of calls has to leave both alike.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::tests::{Fixture, data, fixture, open, path};
use super::*;

const PATHS: [&str; 4] = ["kv/a", "kv/a/b", "kv/z", "team/a"];
const KEPT: u64 = 3;

/// A version: what it holds, and whether that can be read.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Live(u64),
    Deleted(u64),
    Destroyed,
}

#[derive(Clone, Debug, Default)]
struct Model {
    paths: BTreeMap<usize, (u64, BTreeMap<u64, Value>)>,
    /// Paths and versions, by holder.
    pins: BTreeMap<u8, BTreeSet<(usize, u64)>>,
}

#[derive(Clone, Debug)]
enum Call {
    Put(usize, u64, Option<u64>),
    Patch(usize, u64),
    Delete(usize, u64),
    Undelete(usize, u64),
    Destroy(usize, u64),
    Remove(usize),
    Pin(u8, Vec<(usize, u64)>),
    Reopen,
    Rotate,
    Clock(i64),
}

impl Model {
    fn pinned(&self, at: usize, version: u64) -> bool {
        self.pins.values().any(|held| held.contains(&(at, version)))
    }

    /// Whether the store has to say yes.
    fn call(&mut self, call: &Call) -> bool {
        match call {
            Call::Put(at, value, cas) => {
                let current = self.paths.get(at).map_or(0, |path| path.0);
                if cas.is_some_and(|cas| cas != current) {
                    return false;
                }
                self.write(*at, *value);
            }
            Call::Patch(at, value) => {
                let Some((current, versions)) = self.paths.get(at) else { return false };
                if !matches!(versions.get(current), Some(Value::Live(_))) {
                    return false;
                }
                self.write(*at, *value);
            }
            Call::Delete(at, version) => self.change(*at, *version, |value| match value {
                Value::Live(n) => Value::Deleted(n),
                other => other,
            }),
            Call::Undelete(at, version) => self.change(*at, *version, |value| match value {
                Value::Deleted(n) => Value::Live(n),
                other => other,
            }),
            Call::Destroy(at, version) => self.change(*at, *version, |_| Value::Destroyed),
            Call::Remove(at) => {
                self.paths.remove(at);
                // The pins of a path stand in its state, and the holder's own list stays as it was.
                self.pins.values_mut().for_each(|held| held.retain(|(other, _)| other != at));
            }
            Call::Pin(holder, wanted) => {
                let held = self.pins.get(holder).cloned().unwrap_or_default();
                let wanted: BTreeSet<_> = wanted.iter().copied().collect();
                let can = |(at, version): &(usize, u64)| {
                    let value = self.paths.get(at).and_then(|path| path.1.get(version));
                    value.is_some_and(|value| *value != Value::Destroyed || held.contains(&(*at, *version)))
                };
                if !wanted.iter().all(can) {
                    return false;
                }
                let touched: BTreeSet<usize> = held.iter().chain(&wanted).map(|(at, _)| *at).collect();
                let same = held == wanted;
                self.pins.insert(*holder, wanted);
                if !same {
                    touched.into_iter().for_each(|at| self.prune(at));
                }
            }
            Call::Reopen | Call::Rotate | Call::Clock(_) => {}
        }
        true
    }

    fn write(&mut self, at: usize, value: u64) {
        let (current, versions) = self.paths.entry(at).or_default();
        *current += 1;
        versions.insert(*current, Value::Live(value));
        self.prune(at);
    }

    fn change(&mut self, at: usize, version: u64, change: impl Fn(Value) -> Value) {
        if let Some(value) = self.paths.get_mut(&at).and_then(|path| path.1.get_mut(&version)) {
            *value = change(value.clone());
        }
    }

    fn prune(&mut self, at: usize) {
        let Some((current, versions)) = self.paths.get(&at) else { return };
        let floor = current.saturating_sub(KEPT);
        let old: Vec<u64> = versions.keys().copied().filter(|v| *v <= floor && !self.pinned(at, *v)).collect();
        if let Some((_, versions)) = self.paths.get_mut(&at) {
            versions.retain(|version, _| !old.contains(version));
        }
    }
}

fn any_call() -> impl Strategy<Value = Call> {
    let at = 0..PATHS.len();
    let version = 1_u64..6;
    prop_oneof![
        8 => (at.clone(), any::<u64>(), prop::option::weighted(0.3, 0_u64..4)).prop_map(|(a, v, c)| Call::Put(a, v, c)),
        2 => (at.clone(), any::<u64>()).prop_map(|(a, v)| Call::Patch(a, v)),
        2 => (at.clone(), version.clone()).prop_map(|(a, v)| Call::Delete(a, v)),
        1 => (at.clone(), version.clone()).prop_map(|(a, v)| Call::Undelete(a, v)),
        1 => (at.clone(), version.clone()).prop_map(|(a, v)| Call::Destroy(a, v)),
        1 => at.clone().prop_map(Call::Remove),
        2 => (0_u8..2, prop::collection::vec((at, version), 0..3)).prop_map(|(h, v)| Call::Pin(h, v)),
        1 => Just(Call::Reopen),
        1 => Just(Call::Rotate),
        1 => (-1_000_000_i64..1_000_000).prop_map(Call::Clock),
    ]
}

async fn make(f: &mut Fixture, call: &Call) -> bool {
    let value = |n: &u64| data(&json!({ "n": n }).to_string());
    let store = &f.store;
    match call {
        Call::Put(at, n, cas) => {
            let how = Put { cas: *cas, writer: "model".into() };
            store.put(&path(PATHS[*at]), value(n), how).await.is_ok()
        }
        Call::Patch(at, n) => store.patch(&path(PATHS[*at]), value(n), Put::default()).await.is_ok(),
        Call::Delete(at, version) => store.delete(&path(PATHS[*at]), &[*version]).await.is_ok(),
        Call::Undelete(at, version) => store.undelete(&path(PATHS[*at]), &[*version]).await.is_ok(),
        Call::Destroy(at, version) => store.destroy(&path(PATHS[*at]), &[*version]).await.is_ok(),
        Call::Remove(at) => {
            // Who holds versions of a path that goes lets go of them first, as a revision does.
            let hits = store.remove(&path(PATHS[*at])).await;
            hits.is_ok()
        }
        Call::Pin(holder, versions) => {
            let versions: Vec<_> = versions.iter().map(|(at, version)| (PATHS[*at].to_owned(), *version)).collect();
            store.pin(&format!("holder@{holder}"), &versions).await.is_ok()
        }
        Call::Reopen => {
            f.store = open(&f.backend, &f.host, &f.key).await.unwrap();
            true
        }
        Call::Rotate => store.rotate().await.is_ok() && store.reseal().await.is_ok(),
        Call::Clock(seconds) => {
            f.host.advance(*seconds);
            true
        }
    }
}

async fn compare(f: &Fixture, model: &Model) {
    for (at, name) in PATHS.iter().enumerate() {
        let history = f.store.history(&path(name)).await.unwrap();
        let expected = model.paths.get(&at);
        assert_eq!(history.as_ref().map(|state| state.current), expected.map(|path| path.0), "{name}");
        for version in 1..=history.map_or(0, |state| state.current) {
            let found = f.store.find(&path(name), Some(version)).await.unwrap().map(|found| match found.secret {
                Some(secret) => Value::Live(secret.data.expose()["n"].as_u64().unwrap()),
                None if found.info.destroyed => Value::Destroyed,
                None => Value::Deleted(0),
            });
            let expected = expected.and_then(|path| path.1.get(&version)).map(|value| match value {
                Value::Deleted(_) => Value::Deleted(0),
                other => other.clone(),
            });
            assert_eq!(found, expected, "{name} version {version}");
        }
    }
    for folder in ["kv", "kv/a", "team"] {
        let mut names: BTreeSet<String> = BTreeSet::new();
        for at in model.paths.keys() {
            if let Some(rest) = PATHS[*at].strip_prefix(&format!("{folder}/")) {
                names.insert(rest.split_once('/').map_or_else(|| rest.to_owned(), |(first, _)| format!("{first}/")));
            }
        }
        let listed = f.store.list(&Folder::parse(folder).unwrap()).await.unwrap();
        assert_eq!(listed, names.into_iter().collect::<Vec<_>>(), "{folder}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn the_store_does_what_the_model_does(calls in prop::collection::vec(any_call(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut f = fixture().await;
            f.store.add_mount("team", "").await.unwrap();
            for mount in ["kv", "team"] {
                let change = MountChange { max_versions: Some(KEPT), ..MountChange::default() };
                f.store.tune_mount(mount, change).await.unwrap();
            }
            let mut model = Model::default();
            for call in &calls {
                let expected = model.call(call);
                assert_eq!(make(&mut f, call).await, expected, "{call:?} of {calls:?}");
                compare(&f, &model).await;
            }
            f.store = open(&f.backend, &f.host, &f.key).await.unwrap();
            compare(&f, &model).await;
        });
    }
}
