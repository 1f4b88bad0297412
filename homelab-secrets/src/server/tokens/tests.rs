use std::sync::Arc;

use super::*;
use crate::testing::FixedHost;

fn session(parent: Option<Hash>, now: Timestamp, ttl: i64, kept: bool) -> Session {
    Session {
        identity: Identity::Token { name: "t".into() },
        expires: Some(after(now, ttl)),
        creation_ttl: ttl,
        renewable: true,
        orphan: parent.is_none(),
        parent,
        kept,
        ..root_session(now)
    }
}

#[test]
fn a_sealed_store_has_no_tokens_but_the_configured_root() {
    let host = Arc::new(FixedHost::default());
    let tokens = Tokens::new(&*host, Some("root")).unwrap();
    assert!(tokens.use_of("root", host.now()).unwrap().is_some());
    assert!(tokens.use_of("other", host.now()).is_err() && tokens.hash("other").is_err());
}

#[test]
fn what_has_ended_is_swept_out_with_its_children() {
    let host = FixedHost::default();
    let (tokens, now) = (Tokens::new(&host, None).unwrap(), host.now());
    let kept = vec![
        ([1; 32], session(None, now, 10, true)),
        ([2; 32], session(Some([1; 32]), now, 100, true)),
        ([3; 32], session(None, now, 100, true)),
    ];
    assert!(tokens.open(Zeroizing::new([7; 32]), kept.clone(), now).is_empty());
    assert!(tokens.peek(&[2; 32], now).is_some());
    let later = after(now, 11);
    assert!(tokens.peek(&[1; 32], later).is_none() && tokens.peek(&[2; 32], later).is_none());
    let mut ended = tokens.open(Zeroizing::new([7; 32]), kept, later);
    ended.sort_unstable();
    assert_eq!(ended, [[1; 32], [2; 32]]);
    assert!(tokens.peek(&[3; 32], later).is_some());
}

#[test]
fn a_ring_of_parents_is_no_way_to_live() {
    let host = FixedHost::default();
    let (tokens, now) = (Tokens::new(&host, None).unwrap(), host.now());
    let ring =
        vec![([1; 32], session(Some([2; 32]), now, 100, true)), ([2; 32], session(Some([1; 32]), now, 100, true))];
    assert_eq!(tokens.open(Zeroizing::new([7; 32]), ring, now).len(), 2);
}

#[test]
fn a_record_is_what_the_session_was() {
    let now = FixedHost::default().now();
    let kept = Session { path: "auth/token/create", display_name: "t".into(), ..session(Some([9; 32]), now, 60, true) };
    let text = serde_json::to_string(&Kept::of(&kept)).unwrap();
    assert_eq!(serde_json::from_str::<Kept>(&text).unwrap().into_session(), Some(kept));
}
