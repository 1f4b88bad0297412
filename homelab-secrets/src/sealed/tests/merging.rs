//! Our own merge, which Git runs where it is installed as a driver.

use super::*;

fn merged(base: &Value, ours: &Value, theirs: &Value) -> (Result<Value, String>, Vec<String>, String) {
    let [base, ours, theirs] = [base, ours, theirs].map(|value| seal(&ring(), value));
    let side = |label, file| Side { label, file };
    let Merged { text, conflicts } = merge(Some(&base), side("HEAD", &ours), side("topic", &theirs)).unwrap();
    (open(&ring(), &text), conflicts, text)
}

#[test]
fn fields_merge_each_for_itself() {
    let base = json!({"b": 1, "d": 2, "f": 3});
    for (ours, theirs, expected) in [
        (json!({"b": 9, "d": 2, "f": 3}), json!({"b": 1, "d": 8, "f": 3}), json!({"b": 9, "d": 8, "f": 3})),
        (
            json!({"b": 1, "c": 5, "d": 2, "f": 3}),
            json!({"b": 1, "ca": 6, "d": 2, "f": 3}),
            json!({"b": 1, "c": 5, "ca": 6, "d": 2, "f": 3}),
        ),
        (json!({"d": 2, "f": 3}), json!({"b": 1, "f": 3}), json!({"f": 3})),
        (json!({"b": 7, "d": 2, "f": 3}), json!({"b": 7, "d": 2, "f": 3}), json!({"b": 7, "d": 2, "f": 3})),
        (json!({"d": 2, "f": 3}), json!({"d": 2, "f": 4}), json!({"d": 2, "f": 4})),
    ] {
        let (result, conflicts, _) = merged(&base, &ours, &theirs);
        assert_eq!((result, conflicts), (Ok(expected), vec![]), "{ours} and {theirs}");
    }
}

#[test]
fn a_real_conflict_is_marked_at_its_field_only() {
    let (result, conflicts, text) =
        merged(&json!({"a": 1, "b": 1, "c": 1}), &json!({"a": 2, "b": 2, "c": 1}), &json!({"a": 1, "b": 3, "c": 4}));
    assert_eq!(conflicts, ["b"]);
    assert!(result.unwrap_err().contains("Git left a conflict here"));
    let shape: Vec<_> = text.lines().skip(5).map(|line| line.split('.').next().unwrap()).collect();
    insta::assert_snapshot!(shape.join("\n"), @r"
    values:
      a:
        e1

    <<<<<<< HEAD
      b:
        e1

    =======
      b:
        e1

    >>>>>>> topic
      c:
        e1
    ");
    let (_, conflicts, _) = merged(&json!({"a": 1}), &json!({}), &json!({"a": 2}));
    assert_eq!(conflicts, ["a"], "deleted here, changed there");
}

#[test]
fn a_file_of_another_repository_does_not_merge() {
    let ours = seal(&ring(), &json!({}));
    let theirs = seal(&keys_of("other", 50, 1).open().unwrap(), &json!({}));
    let side = |file| Side { label: "x", file };
    assert!(merge(None, side(&ours), side(&theirs)).unwrap_err().to_string().contains("different repositories"));
    let moved = seal_file(&ring(), "web/dc", &Fields::default(), None).unwrap();
    assert_eq!(merge(Some(&ours), side(&ours), side(&moved)).unwrap().text, moved.to_string());
    assert!(merge(None, side(&ours), side(&moved)).is_err(), "made twice under two names");
}

/// What one side does to one key.
fn change() -> impl Strategy<Value = BTreeMap<String, Option<u8>>> {
    prop::collection::btree_map("[a-f]", any::<Option<u8>>(), 0..4)
}

fn after(base: &BTreeMap<String, u8>, change: &BTreeMap<String, Option<u8>>) -> Value {
    let mut next = base.clone();
    for (key, value) in change {
        match value {
            Some(value) => drop(next.insert(key.clone(), *value)),
            None => drop(next.remove(key)),
        }
    }
    json!(next)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn changes_of_different_keys_always_merge(
        base in prop::collection::btree_map("[a-f]", any::<u8>(), 0..6), ours in change(), mut theirs in change(),
    ) {
        theirs.retain(|key, _| !ours.contains_key(key));
        let both: BTreeMap<_, _> = ours.clone().into_iter().chain(theirs.clone()).collect();
        let (result, conflicts, _) = merged(&json!(base), &after(&base, &ours), &after(&base, &theirs));
        prop_assert_eq!((result, conflicts), (Ok(after(&base, &both)), vec![]));
    }
}
