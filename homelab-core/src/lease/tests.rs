use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn spec(holder: &str, renewed: i64) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.into()),
        lease_duration_seconds: Some(15),
        renew_time: Some(MicroTime(at(renewed))),
        ..LeaseSpec::default()
    }
}

#[test]
fn verdicts() {
    let held = |until| Verdict::Held { by: "other".into(), until: at(until) };
    let table = [
        ("no such object", None, 0, Verdict::Free),
        ("given back", Some((spec("", 0), 0)), 0, Verdict::Free),
        ("ours, even when it ran out", Some((spec("me", 0), 0)), 99, Verdict::Mine),
        ("fresh", Some((spec("other", 0), 0)), 14, held(15)),
        ("ran out", Some((spec("other", 0), 0)), 15, Verdict::Free),
        ("its holder's clock is an hour behind", Some((spec("other", -3600), 0)), 1, held(15)),
        ("its holder's clock is an hour ahead", Some((spec("other", 3600), 0)), 15, Verdict::Free),
    ];
    for (what, seen, now, expected) in table {
        let seen = seen.map(|(spec, since)| Seen { spec, since: at(since) });
        assert_eq!(evaluate(seen.as_ref(), "me", at(now)), expected, "{what}");
    }
}

#[test]
fn looking_again_keeps_the_first_sight_until_the_record_changes() {
    let first = Seen::update(None, spec("other", 0), at(100));
    let same = Seen::update(Some(first), spec("other", 0), at(110));
    assert_eq!(same.since, at(100));
    let renewed = Seen::update(Some(same), spec("other", 5), at(111));
    assert_eq!(renewed.since, at(111));
    let set_back = Seen::update(Some(renewed), spec("other", 5), at(50));
    assert_eq!(set_back.since, at(50));
}

#[test]
fn a_takeover_counts_and_a_renewal_does_not() {
    let duration = Duration::from_secs(15);
    let fresh = claim(&LeaseSpec::default(), "me", duration, at(1));
    assert_eq!((fresh.lease_transitions, fresh.acquire_time.clone()), (Some(0), Some(MicroTime(at(1)))));
    let renewed = claim(&fresh, "me", duration, at(2));
    assert_eq!(
        (renewed.lease_transitions, renewed.acquire_time, renewed.renew_time),
        (Some(0), fresh.acquire_time.clone(), Some(MicroTime(at(2))))
    );
    assert_eq!(claim(&fresh, "other", duration, at(3)).lease_transitions, Some(1));
    let free = Seen { spec: release(&fresh, at(4)), since: at(4) };
    assert_eq!(evaluate(Some(&free), "other", at(4)), Verdict::Free);
}
