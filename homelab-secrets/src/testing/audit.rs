//! The contract that every [`AuditSink`] keeps.

use std::sync::Arc;

use crate::audit::{AuditKey, Durability, Entry, Event, Expectations, Line, Report, verify};
use crate::backend::audit::AuditSink;

const CALLERS: usize = 8;
const EACH: usize = 25;

/// Everything that a sink promises. `make` gives an empty one with this key, `text` all that it holds. Panics where a
/// promise is broken.
pub async fn audit_contract<A: AuditSink>(make: impl Fn(Arc<AuditKey>) -> Arc<A>, text: impl Fn(&A) -> Vec<u8>) {
    let key = Arc::new(AuditKey::new(&[42; 32]).expect("a key"));
    let checked = |audit: &A| {
        let text = text(audit);
        let report = verify(Line::all("log", &text), &key, &Expectations::default());
        assert!(report.is_clean(), "{:?}", report.findings);
        (text, report)
    };
    a_record_is_there_when_it_is_acknowledged(&*make(key.clone()), &checked).await;
    callers_do_not_lose_each_others_records(make(key.clone()), &checked).await;
    let quiet = make(key.clone());
    assert_eq!(*quiet.trouble().borrow(), None, "a new log takes records");
}

fn entry(object: &str) -> Entry {
    Entry::new(&Event::Action { who: "root", op: "test", object }).expect("an entry")
}

async fn a_record_is_there_when_it_is_acknowledged<A: AuditSink>(
    audit: &A,
    checked: &impl Fn(&A) -> (Vec<u8>, Report),
) {
    let mut before = 0;
    for (n, durability) in [Durability::Written, Durability::Synced, Durability::Written].into_iter().enumerate() {
        let object = format!("object {n}\n\"é\"");
        let seq = audit.append(entry(&object), durability).await.expect("a record");
        assert!(seq > before, "numbers grow");
        before = seq;
        let (text, report) = checked(audit);
        assert_eq!(report.last, Some(seq));
        let last = text.split_inclusive(|b| *b == b'\n').next_back().expect("a line");
        let last: serde_json::Value = serde_json::from_slice(last).expect("a record is JSON");
        assert_eq!((last["seq"].as_u64(), last["object"].as_str()), (Some(seq), Some(&*object)));
    }
}

async fn callers_do_not_lose_each_others_records<A: AuditSink>(
    audit: Arc<A>,
    checked: &impl Fn(&A) -> (Vec<u8>, Report),
) {
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let audit = audit.clone();
            tokio::spawn(async move {
                let mut all = Vec::new();
                for n in 0..EACH {
                    let durability = if n % 3 == 0 { Durability::Synced } else { Durability::Written };
                    let object = format!("{caller}/{n}");
                    all.push((audit.append(entry(&object), durability).await.expect("a record"), object));
                }
                all
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for caller in callers {
        let all = caller.await.expect("a caller");
        assert!(all.is_sorted(), "one caller's records stand in their order");
        acknowledged.extend(all);
    }
    let (text, _) = checked(&audit);
    for (seq, object) in acknowledged {
        let stands = format!(r#""seq":{seq},"#);
        let line = text.split(|b| *b == b'\n').find(|line| line.windows(stands.len()).any(|w| w == stands.as_bytes()));
        let line = String::from_utf8_lossy(line.expect("the record"));
        assert!(line.contains(&format!(r#""object":"{object}""#)), "{seq}: {line}");
    }
}
