use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_changed_reason_keeps_the_time_of_the_last_transition() {
    let mut conditions = Vec::new();
    set(&mut conditions, READY, false, "Fetching", "fetching", 1, at(10));
    set(&mut conditions, READY, false, "Applying", "applying", 2, at(20));
    let ready = get(&conditions, READY).unwrap();
    assert_eq!(
        (ready.last_transition_time.0, ready.reason.as_str(), ready.observed_generation),
        (at(10), "Applying", Some(2))
    );
    set(&mut conditions, READY, true, "Applied", "applied", 2, at(30));
    assert_eq!(get(&conditions, READY).unwrap().last_transition_time.0, at(30));
    assert!(is_true(&conditions, READY));
}

#[test]
fn unknown_is_not_true() {
    let mut conditions = Vec::new();
    set(&mut conditions, READY, Status::Unknown, "Starting", "", 1, at(1));
    assert!(!is_true(&conditions, READY));
    assert!(remove(&mut conditions, READY));
    assert!(!remove(&mut conditions, READY));
}

proptest! {
    #[test]
    fn one_condition_a_type_and_its_time_is_that_of_the_last_change(
        writes in prop::collection::vec((0..3_usize, any::<bool>()), 1..40)
    ) {
        let types = [READY, RECONCILING, STALLED];
        let mut conditions = Vec::new();
        let mut expected: [Option<(bool, i64)>; 3] = [None; 3];
        for (second, (which, status)) in (0_i64..).zip(writes) {
            set(&mut conditions, types[which], status, "R", "", second, at(second));
            let kept = expected[which].filter(|(old, _)| *old == status);
            expected[which] = Some(kept.unwrap_or((status, second)));
        }
        prop_assert_eq!(conditions.len(), expected.iter().flatten().count());
        for (type_, want) in types.iter().zip(expected) {
            let got = get(&conditions, type_).map(|c| (c.status == "True", c.last_transition_time.0.as_second()));
            prop_assert_eq!(got, want);
        }
    }
}
