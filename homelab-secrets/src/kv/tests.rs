use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

/// A mount that says nothing of its own.
const PLAIN: MountSettings =
    MountSettings { max_versions: 0, cas_required: false, delete_version_after: SignedDuration::ZERO };

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn put(cas: Option<u64>) -> Command {
    Command::Put { cas }
}

fn settings(max_versions: u64, cas_required: bool) -> Command {
    Command::Set(SettingsChange {
        max_versions: Some(max_versions),
        cas_required: Some(cas_required),
        ..Default::default()
    })
}

fn pin(holder: &str, versions: &[u64]) -> Command {
    Command::Pin { holder: holder.into(), versions: versions.iter().copied().collect() }
}

fn destroy(versions: &[u64]) -> Command {
    Command::Destroy(versions.to_vec())
}

/// Runs all commands, a second apart; tells what was left, or the refusal of the last one.
fn run(commands: &[Command]) -> String {
    run_in(&PLAIN, commands)
}

fn run_in(mount: &MountSettings, commands: &[Command]) -> String {
    let mut state: Option<State> = None;
    let mut last = Ok(Vec::new());
    for (second, command) in (0..).zip(commands) {
        last = match apply(state.as_ref(), command, mount, at(second)) {
            Ok((next, effects)) => {
                state = next;
                Ok(effects)
            }
            Err(refusal) => Err(refusal),
        };
    }
    let now = at(commands.len() as i64);
    let versions = state.as_ref().map_or_else(
        || "gone".into(),
        |s| {
            let mark = |info: &VersionInfo| match (info.destroyed, info.is_live(now)) {
                (true, _) => "!",
                (_, false) => "-",
                _ => "",
            };
            s.versions.iter().map(|(v, info)| format!("{v}{}", mark(info))).collect::<Vec<_>>().join(" ")
        },
    );
    match last {
        Ok(effects) => format!("{versions} {effects:?}"),
        Err(refusal) => format!("{versions} ({refusal})"),
    }
}

#[test]
fn writing_with_check_and_set() {
    let cases: [(&[Command], &str); 7] = [
        (&[put(None), put(None)], "1 2 [Write(2)]"),
        (&[put(Some(0))], "1 [Write(1)]"),
        (&[put(None), put(Some(0))], "1 (check-and-set parameter did not match the current version)"),
        (&[put(None), put(Some(1))], "1 2 [Write(2)]"),
        (&[settings(0, true), put(None)], " (check-and-set parameter required for this call)"),
        (&[settings(0, true), put(Some(0))], "1 [Write(1)]"),
        (
            &[put(None), Command::Delete(vec![]), put(Some(0))],
            "1- (check-and-set parameter did not match the current version)",
        ),
    ];
    for (commands, expected) in cases {
        assert_eq!(run(commands), expected);
    }
}

#[test]
fn old_versions_are_pruned_but_pinned_ones_stay() {
    let cases: [(&[Command], &str); 5] = [
        (&[settings(2, false), put(None), put(None), put(None)], "2 3 [Write(3), Erase(1)]"),
        (&[settings(2, false), put(None), pin("r1", &[1]), put(None), put(None)], "1 2 3 [Write(3)]"),
        (&[settings(1, false), put(None), pin("r1", &[1]), put(None), put(None), pin("r1", &[])], "3 [Erase(1)]"),
        (
            &[put(None), put(None), put(None), settings(1, false), put(None)],
            "4 [Write(4), Erase(1), Erase(2), Erase(3)]",
        ),
        (&[settings(1, false), put(None), destroy(&[1]), put(None)], "2 [Write(2)]"),
    ];
    for (commands, expected) in cases {
        assert_eq!(run(commands), expected);
    }
}

#[test]
fn deleting_undeleting_and_destroying() {
    let two = || [put(None), put(None)];
    let after = |commands: &[Command]| run(&[&two()[..], commands].concat());
    assert_eq!(after(&[Command::Delete(vec![])]), "1 2- []");
    assert_eq!(after(&[Command::Delete(vec![1, 7])]), "1- 2 []");
    assert_eq!(after(&[Command::Delete(vec![]), Command::Undelete(vec![2])]), "1 2 []");
    assert_eq!(after(&[destroy(&[1])]), "1! 2 [Erase(1)]");
    assert_eq!(after(&[destroy(&[1]), Command::Undelete(vec![1])]), "1! 2 []");
    assert_eq!(after(&[destroy(&[1]), destroy(&[1])]), "1! 2 []", "only once");
    assert_eq!(after(&[Command::Remove]), "gone [Erase(1), Erase(2)]");
    assert_eq!(after(&[pin("r", &[1]), destroy(&[1])]), "1! 2 [Erase(1)]", "a pin stops pruning, not people");
    assert_eq!(after(&[pin("r", &[1]), Command::Remove]), "gone [Erase(1), Erase(2)]");
    assert_eq!(run(&[Command::Delete(vec![1])]), "gone []", "no path: nothing to do, as Vault");
    assert_eq!(after(&[Command::Withdraw]), "gone [Erase(1), Erase(2)]");
    assert_eq!(after(&[pin("r", &[1]), Command::Withdraw]), "1 [Erase(2)]", "what is pinned stays");
    assert_eq!(after(&[pin("r", &[1]), Command::Withdraw, put(None)]), "1 3 [Write(3)]");
    assert_eq!(after(&[pin("r", &[1]), Command::Withdraw, pin("r", &[]), Command::Withdraw]), "gone [Erase(1)]");
}

#[test]
fn patching_needs_a_live_newest_version() {
    let patch = || Command::Patch { cas: None };
    assert_eq!(run(&[patch()]), "gone (there is no such secret)");
    assert_eq!(run(&[settings(0, false), patch()]), " (there is no such secret)");
    assert_eq!(run(&[put(None), patch()]), "1 2 [Write(2)]");
    assert_eq!(run(&[put(None), Command::Delete(vec![]), patch()]), "1- (version 1 is deleted or destroyed)");
    assert_eq!(
        run(&[put(None), Command::Patch { cas: Some(3) }]),
        "1 (check-and-set parameter did not match the current version)"
    );
}

#[test]
fn settings_are_set_merged_and_bounded() {
    let custom = |words: &[(&str, Option<&str>)]| SettingsChange {
        custom: Some(words.iter().map(|(k, v)| ((*k).into(), v.map(Into::into))).collect()),
        ..Default::default()
    };
    let (state, _) =
        apply(None, &Command::Set(custom(&[("owner", Some("me")), ("a", Some("b"))])), &PLAIN, at(0)).unwrap();
    let (state, _) =
        apply(state.as_ref(), &Command::PatchSettings(custom(&[("a", None), ("c", Some("d"))])), &PLAIN, at(1))
            .unwrap();
    let words = |s: &Option<State>| format!("{:?}", s.as_ref().unwrap().settings.custom);
    assert_eq!(words(&state), r#"{"c": "d", "owner": "me"}"#);
    let (state, _) = apply(state.as_ref(), &Command::Set(custom(&[("x", Some("y"))])), &PLAIN, at(2)).unwrap();
    assert_eq!(words(&state), r#"{"x": "y"}"#);
    let long = "v".repeat(513);
    assert!(matches!(
        apply(None, &Command::Set(custom(&[("k", Some(&long))])), &PLAIN, at(0)),
        Err(Refusal::Setting(_))
    ));
    assert_eq!(
        apply(None, &Command::PatchSettings(SettingsChange::default()), &PLAIN, at(0)),
        Err(Refusal::NoSuchPath)
    );
}

#[test]
fn a_version_can_have_an_end_of_its_own() {
    let hour = SettingsChange { delete_version_after: Some(SignedDuration::from_hours(1)), ..Default::default() };
    let (state, _) = apply(None, &Command::Set(hour), &PLAIN, at(0)).unwrap();
    let (state, _) = apply(state.as_ref(), &put(None), &PLAIN, at(0)).unwrap();
    let info = &state.unwrap().versions[&1];
    assert!(info.is_live(at(3599)) && !info.is_live(at(3600)));
}

#[test]
fn a_mounts_settings_hold_where_the_path_has_none() {
    let mount = |max_versions, cas_required, hours| MountSettings {
        max_versions,
        cas_required,
        delete_version_after: SignedDuration::from_hours(hours),
    };
    let path = |max_versions, cas_required, hours| Settings {
        max_versions,
        cas_required,
        delete_version_after: SignedDuration::from_hours(hours),
        ..Default::default()
    };
    for (own, mount, expected) in [
        (path(0, false, 0), mount(0, false, 0), (10, false, None)),
        (path(0, false, 0), mount(3, true, 5), (3, true, Some(5))),
        (path(2, false, 0), mount(3, false, 5), (2, false, Some(5))),
        (path(20, true, 4), mount(3, false, 5), (20, true, Some(4))),
        (path(0, false, 6), mount(0, false, 5), (10, false, Some(5))),
        (path(0, false, 6), mount(0, false, 0), (10, false, Some(6))),
    ] {
        let ends = own.version_ends(&mount, at(0)).map(|end| end.duration_since(at(0)).as_hours());
        assert_eq!((own.versions_kept(&mount), own.needs_cas(&mount), ends), expected, "{own:?} in {mount:?}");
    }
    let puts = [put(None), put(None), put(None)];
    assert_eq!(run_in(&mount(2, false, 0), &puts), "2 3 [Write(3), Erase(1)]");
    assert_eq!(run_in(&mount(0, true, 0), &puts), "gone (check-and-set parameter required for this call)");
}

#[test]
fn who_loses_a_pinned_version_is_named() {
    let commands = [put(None), put(None), put(None), destroy(&[3]), pin("a@1", &[1, 2]), pin("b@1", &[2])];
    let state = commands
        .iter()
        .fold(None, |state: Option<State>, command| apply(state.as_ref(), command, &PLAIN, at(0)).unwrap().0);
    let told = |command: Command| format!("{:?}", hits(state.as_ref().unwrap(), &command, at(9)));
    assert_eq!(told(destroy(&[2, 3])), r#"{"a@1": {2}, "b@1": {2}}"#);
    assert_eq!(told(Command::Remove), r#"{"a@1": {1, 2}, "b@1": {2}}"#);
    assert_eq!(told(Command::Delete(vec![1])), r#"{"a@1": {1}}"#);
    assert_eq!(told(Command::Delete(vec![])), "{}");
    assert_eq!(told(put(None)), "{}");
}

#[test]
fn a_clock_that_jumps_brings_nothing_back_and_loses_nothing() {
    let apply = |state: Option<&State>, command: &Command, second| apply(state, command, &PLAIN, at(second)).unwrap().0;
    let state = apply(None, &put(None), 0);
    let state = apply(state.as_ref(), &put(None), 0);
    let far = 1_000_000_000;
    let state = apply(state.as_ref(), &Command::Delete(vec![1]), far);
    let state = apply(state.as_ref(), &put(Some(2)), -far);
    let state = state.unwrap();
    let live = |second| state.versions.iter().filter(move |(_, info)| info.is_live(at(second))).map(|(v, _)| *v);
    for second in [-far, 0, far + 1] {
        assert_eq!(live(second).collect::<Vec<_>>(), [2, 3], "at {second}");
    }
    let after = SettingsChange { delete_version_after: Some(SignedDuration::MAX), ..Default::default() };
    let state = apply(Some(&state), &Command::Set(after), 0);
    let state = apply(state.as_ref(), &put(None), far);
    assert!(state.unwrap().versions[&4].is_live(at(far)), "an end past all time is none");
}

#[test]
fn only_values_that_exist_can_be_pinned() {
    assert_eq!(run(&[pin("r", &[1])]), "gone (there is no such secret)");
    assert_eq!(run(&[put(None), pin("r", &[2])]), "1 (there is no version 2)");
    assert_eq!(run(&[put(None), destroy(&[1]), pin("r", &[1])]), "1! (there is no version 1)");
    assert_eq!(run(&[pin("r", &[])]), "gone []");
}

fn any_command() -> impl Strategy<Value = Command> {
    let version = 1_u64..9;
    let versions = prop::collection::vec(version, 0..3);
    prop_oneof![
        4 => prop::option::of(0_u64..4).prop_map(|cas| Command::Put { cas }),
        1 => Just(Command::Patch { cas: None }),
        1 => versions.clone().prop_map(Command::Delete),
        1 => versions.clone().prop_map(Command::Undelete),
        1 => versions.clone().prop_map(Command::Destroy),
        1 => Just(Command::Remove),
        1 => Just(Command::Withdraw),
        1 => (0_u64..4, any::<bool>()).prop_map(|(max, cas)| settings(max, cas)),
        2 => ("[ab]", versions).prop_map(|(holder, versions)| pin(&holder, &versions)),
    ]
}

proptest! {
    /// The values that the effects leave stored are exactly those of versions that are listed and not destroyed;
    /// nothing pinned is erased but by who asks for it, who is told of each holder; a version number is never used twice while the path lives.
    #[test]
    fn effects_and_state_agree(commands in prop::collection::vec(any_command(), 1..40)) {
        let mut state: Option<State> = None;
        let mut stored = BTreeSet::new();
        for (second, command) in (0..).zip(&commands) {
            let Ok((next, effects)) = apply(state.as_ref(), command, &PLAIN, at(second)) else { continue };
            let told = state.as_ref().map_or_else(Hits::new, |s| hits(s, command, at(second)));
            let before = state.clone();
            for effect in effects {
                match effect {
                    Effect::Write(version) => {
                        prop_assert_eq!(version, state.as_ref().map_or(0, |s| s.current) + 1);
                        prop_assert!(stored.insert(version));
                    }
                    Effect::Erase(version) => {
                        prop_assert!(stored.remove(&version), "erased what was not there: {version}");
                        let asked = matches!(command, Command::Destroy(_) | Command::Remove);
                        let pinned = if asked { &before } else { &next };
                        for (holder, versions) in pinned.iter().flat_map(|s| &s.pins) {
                            let knows = told.get(holder).is_some_and(|told| told.contains(&version));
                            prop_assert!(!versions.contains(&version) || (asked && knows), "erased pinned {}", version);
                        }
                    }
                }
            }
            if let Some(next) = &next {
                prop_assert_eq!(&next.values().collect::<BTreeSet<_>>(), &stored);
                prop_assert!(next.versions.keys().all(|v| *v <= next.current));
                let unpinned = next.versions.keys().filter(|v| next.pinned_by(**v).is_none()).count() as u64;
                prop_assert!(unpinned <= DEFAULT_MAX_VERSIONS.max(next.settings.max_versions));
                let json = serde_json::to_string(next).unwrap();
                prop_assert_eq!(&serde_json::from_str::<State>(&json).unwrap(), next);
            } else {
                prop_assert!(stored.is_empty());
            }
            state = next;
        }
    }
}
