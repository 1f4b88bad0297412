use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kv::{Effect, State};

mod sources;

fn data(value: &str) -> SecretData {
    SecretData::new(Map::from_iter([("k".to_owned(), value.into())]))
}

/// One path of a store: the rules of KV v2, and values.
#[derive(Default)]
struct PathModel {
    state: Option<State>,
    values: BTreeMap<u64, SecretData>,
}

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

impl PathModel {
    fn apply(&mut self, command: &Command, value: Option<SecretData>) {
        let (state, effects) = kv::apply(self.state.as_ref(), command, &MountSettings::default(), now()).unwrap();
        self.state = state;
        for effect in effects {
            match effect {
                Effect::Write(version) => drop(self.values.insert(version, value.clone().unwrap())),
                Effect::Erase(version) => drop(self.values.remove(&version)),
            }
        }
    }

    fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Set(settings) => {
                let change = SettingsChange {
                    max_versions: Some(settings.max_versions),
                    cas_required: Some(settings.cas_required),
                    delete_version_after: Some(settings.delete_version_after),
                    custom: Some(settings.custom.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect()),
                };
                self.apply(&Command::Set(change), None);
            }
            Step::Write { cas, data } => {
                let value = data.cloned().unwrap_or_default();
                self.apply(&Command::Put { cas: Some(*cas) }, Some(value));
            }
            Step::Delete(versions) => self.apply(&Command::Delete(versions.clone()), None),
            Step::Destroy(versions) => self.apply(&Command::Destroy(versions.clone()), None),
        }
    }

    fn live(&self, version: u64) -> Option<SecretData> {
        let info = &self.state.as_ref()?.versions[&version];
        info.is_live(now()).then(|| self.values[&version].clone())
    }

    /// As an export finds it.
    fn entry(&self) -> Option<Entry> {
        let state = self.state.as_ref()?;
        let version = |(number, info): (&u64, &kv::VersionInfo)| {
            let version = Version {
                created: info.created,
                deleted: info.deleted,
                destroyed: info.destroyed,
                data: self.live(*number),
            };
            (*number, version)
        };
        Some(Entry {
            name: Name::Full("kv/a".into()),
            settings: Some(state.settings.clone()),
            history: History::All(state.versions.iter().map(version).collect()),
        })
    }

    /// As an import finds it.
    fn existing(&self) -> Option<Existing> {
        let state = self.state.as_ref()?;
        let kept = |number: &u64| self.live(*number).map_or(Kept::Dead, Kept::Live);
        let versions = state.versions.keys().map(|number| (*number, kept(number))).collect();
        Some(Existing { settings: state.settings.clone(), current: state.current, versions })
    }
}

fn of(commands: &[(u8, u64)]) -> PathModel {
    let mut path = PathModel::default();
    for (kind, number) in commands {
        match kind {
            0..=4 => path.apply(&Command::Put { cas: None }, Some(data(&number.to_string()))),
            5 => path.apply(&Command::Delete(vec![*number]), None),
            6 => path.apply(&Command::Destroy(vec![*number]), None),
            _ => {
                let change = SettingsChange { max_versions: Some(number % 5), ..SettingsChange::default() };
                path.apply(&Command::Set(change), None);
            }
        }
    }
    path
}

fn through_the_file(entry: &Entry) -> Entry {
    let (Name::Full(name), History::All(versions)) = (&entry.name, &entry.history) else { unreachable!() };
    let mut writer = export::Writer::begin(now(), "0.1.0").unwrap();
    writer.secret(name, entry.settings.as_ref().unwrap(), versions.clone()).unwrap();
    let text = writer.end(Vec::new()).unwrap();
    let mut entries = export::read(std::str::from_utf8(&text).unwrap()).unwrap().entries;
    entries.pop().unwrap()
}

proptest! {
    #[test]
    fn what_was_exported_is_imported_as_it_was_also_in_two_halves(
        commands in prop::collection::vec((0_u8..8, 1_u64..12), 1..30),
        cut in any::<prop::sample::Index>(),
    ) {
        let source = of(&commands);
        let Some(entry) = source.entry() else { return Ok(()) };
        let read = through_the_file(&entry);
        prop_assert_eq!(&read, &entry);

        let mut copy = PathModel::default();
        let first = plan(&read, None, false);
        prop_assert_eq!(&first.what, &What::Create);
        let done = cut.index(first.steps.len() + 1);
        first.steps[..done].iter().for_each(|step| copy.step(step));
        if done < first.steps.len() {
            let second = plan(&read, copy.existing().as_ref(), false);
            prop_assert!(!matches!(second.what, What::Conflict(_) | What::Overwrite), "{:?}", second);
            second.steps.iter().for_each(|step| copy.step(step));
        }
        let again = plan(&read, copy.existing().as_ref(), false);
        prop_assert!(again.what == What::Unchanged && again.steps.is_empty() && !again.keeps_settings, "{:?}", again);

        let (from, to) = (source.state.as_ref().unwrap(), copy.state.as_ref().unwrap());
        let last = from.versions.keys().last().copied().unwrap_or(0);
        prop_assert_eq!(&from.settings, &to.settings);
        prop_assert_eq!(last, to.current);
        for version in to.versions.keys() {
            let was = from.versions.contains_key(version).then(|| source.live(*version)).flatten();
            prop_assert_eq!(copy.live(*version), was, "version {}", version);
        }
        for version in from.versions.keys().filter(|version| source.live(**version).is_some()) {
            prop_assert!(to.versions.contains_key(version));
        }
    }

    #[test]
    fn no_part_of_an_export_is_taken_for_whole(
        values in prop::collection::vec("[a-z]{1,8}", 1..5), cut in any::<prop::sample::Index>(),
    ) {
        let mut writer = export::Writer::begin(now(), "0.1.0").unwrap();
        for (at, value) in values.iter().enumerate() {
            let version = Version { created: now(), deleted: None, destroyed: false, data: Some(data(value)) };
            writer.secret(&format!("kv/{at}"), &Settings::default(), BTreeMap::from([(1, version)])).unwrap();
        }
        let text = writer.end(vec!["kv/other".into()]).unwrap();
        let text = std::str::from_utf8(&text).unwrap();
        let all = export::read(text).unwrap();
        prop_assert_eq!((all.entries.len(), all.unreadable), (values.len(), vec!["kv/other".to_owned()]));
        // Without the line feed at its end it is still whole.
        let part = &text[..cut.index(text.len() - 1)];
        let error = export::read(part).map(drop).unwrap_err().to_string();
        prop_assert!(!error.contains('{'), "a line is quoted: {}", error);
    }
}

fn newest(value: &str) -> Entry {
    Entry { name: Name::Inner("a".into()), settings: None, history: History::Newest(data(value)) }
}

#[test]
fn other_values_are_a_conflict_and_a_new_version_only_on_request() {
    let there = of(&[(0, 1), (0, 2)]);
    let mut deleted = of(&[(0, 1), (0, 2)]);
    deleted.step(&Step::Delete(vec![2]));
    let what = |entry: &Entry, there: &PathModel, overwrite| {
        let planned = plan(entry, there.existing().as_ref(), overwrite);
        (planned.what, planned.steps.len())
    };
    let conflict = |why: &str| (What::Conflict(why.to_owned()), 0);
    assert_eq!(what(&newest("2"), &there, false), (What::Unchanged, 0));
    assert_eq!(what(&newest("3"), &there, false), conflict("its newest version has other values"));
    assert_eq!(what(&newest("3"), &there, true), (What::Overwrite, 1));
    assert_eq!(what(&newest("2"), &deleted, false), conflict("its newest version is deleted there"));
    let all = |commands: &[(u8, u64)]| of(commands).entry().unwrap();
    assert_eq!(what(&all(&[(0, 1), (0, 2), (0, 3)]), &there, false), (What::Complete, 1));
    assert_eq!(what(&all(&[(0, 1)]), &there, false), (What::Unchanged, 0), "it only went on there");
    assert_eq!(what(&all(&[(0, 9), (0, 2)]), &there, false), (What::Unchanged, 0), "the newest is the same");
    assert_eq!(what(&all(&[(0, 9), (0, 3)]), &there, false), conflict("its version 1 has other values"));
    assert_eq!(
        what(&all(&[(0, 1), (0, 2), (5, 1), (0, 3)]), &there, false),
        conflict("its version 1 is not deleted there")
    );
    assert_eq!(what(&all(&[(0, 1), (0, 3), (5, 2)]), &there, true).1, 0, "a deleted value makes no version");
    let entry = newest("3");
    assert_eq!(plan(&entry, there.existing().as_ref(), true).steps, [Step::Write { cas: 2, data: Some(&data("3")) }]);
}

#[test]
fn settings_that_are_there_stay_unless_they_are_to_be_written_over() {
    let there = of(&[(7, 3), (0, 1)]);
    let entry = of(&[(7, 2), (0, 1)]).entry().unwrap();
    let kept = plan(&entry, there.existing().as_ref(), false);
    assert!(kept.keeps_settings && kept.steps.is_empty());
    let set = plan(&entry, there.existing().as_ref(), true);
    assert!(!set.keeps_settings && set.what == What::Complete && matches!(set.steps[..], [Step::Set(_)]));
}

#[test]
fn who_knows_only_words_of_a_path_changes_only_these() {
    let there = of(&[(7, 3), (0, 1)]);
    let custom = BTreeMap::from([("owner".to_owned(), "anna".to_owned())]);
    let entry = Entry { settings: Some(Settings { custom, ..Settings::default() }), ..newest("1") };
    assert!(plan(&entry, there.existing().as_ref(), false).keeps_settings);
    let steps = plan(&entry, there.existing().as_ref(), true).steps;
    let [Step::Set(settings)] = &steps[..] else { panic!("one step: {steps:?}") };
    assert_eq!((settings.max_versions, settings.custom["owner"].as_str()), (3, "anna"));
}

#[test]
fn names_lead_to_paths() {
    let full = Name::Full("secret/web/db".into());
    let (inner, file) = (Name::Inner("web/db".into()), Name::File("web/db".into()));
    for (name, to, path) in [
        (&full, None, "secret/web/db"),
        (&full, Some("kv"), "kv/web/db"),
        (&full, Some("kv/old/"), "kv/old/web/db"),
        (&inner, None, "kv/web/db"),
        (&inner, Some("apps/x"), "apps/x/web/db"),
        (&file, Some("kv"), "kv/web/db"),
        (&file, Some("kv/x/"), "kv/x/web/db"),
        (&file, Some("kv/x"), "kv/x"),
    ] {
        assert_eq!(place(name, to).unwrap().as_str(), path);
    }
    assert!(place(&file, None).unwrap_err().to_string().contains("--to MOUNT/PATH"));
    for trick in ["secret/../sys/x", "secret//x", "secret", "secret/a\nb", "/secret/x"] {
        assert!(place(&Name::Full(trick.into()), None).is_err(), "{trick:?}");
    }
}

#[test]
fn what_no_store_would_take_is_refused_before_anything_is_written() {
    let at = |path: &str, entry: Entry| (SecretPath::parse(path).unwrap(), entry);
    let error = |entries: &[(SecretPath, Entry)]| check(entries).unwrap_err().to_string();
    assert!(check(&[at("kv/a", newest("x")), at("kv/b", newest("x"))]).is_ok());
    assert!(error(&[at("kv/a", newest("x")), at("kv/a", newest("x"))]).contains("two secrets would be kv/a"));
    assert!(error(&[at("git/home/a", newest("x"))]).contains("sealed files in Git"));
    let large = error(&[at("kv/a", newest(&"planted".repeat(100_000)))]);
    assert!(large.contains("kv/a: its value is larger than 512 KiB") && !large.contains("planted"), "{large}");
    let version = Version { created: now(), deleted: None, destroyed: true, data: None };
    let mut entry = newest("x");
    entry.history = History::All(BTreeMap::from([(u64::MAX, version)]));
    assert!(error(&[at("kv/a", entry)]).contains("there can be no version"));
    let custom = BTreeMap::from([("k".repeat(200), "v".to_owned())]);
    let mut entry = newest("x");
    entry.settings = Some(Settings { custom, ..Settings::default() });
    assert!(error(&[at("kv/a", entry)]).contains("custom_metadata"));
}
