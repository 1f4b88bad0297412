use homelab_core::meta::Account;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::policy::Identity;

fn key() -> AuditKey {
    AuditKey::new(&[7; 32]).unwrap()
}

fn time() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// Files in order, and where the chain ends.
#[derive(Clone, Debug)]
struct Log {
    files: Vec<(String, Vec<u8>)>,
    end: Position,
}

impl Log {
    /// Files with so many records each, besides the first one of each.
    fn new(files: &[usize]) -> Self {
        let (key, mut log) = (key(), Self { files: Vec::new(), end: Position::default() });
        for (number, records) in files.iter().enumerate() {
            log.files.push((format!("{number}.log"), Vec::new()));
            log.add(&Event::file(log.end, &key));
            (0..*records).for_each(|_| log.add(&Event::Started { version: "1.0" }));
        }
        log
    }

    fn add(&mut self, event: &Event<'_>) {
        let entry = Entry::new(event).unwrap();
        self.end.append(&key(), time(), &entry, &mut self.files.last_mut().unwrap().1);
    }

    fn anchor(&self) -> Expectations {
        Expectations { anchor: Some(Anchor { at: self.end, time: time() }) }
    }

    fn verify(&self, expect: &Expectations) -> Report {
        verify(self.files.iter().flat_map(|(name, text)| Line::all(name, text)), &key(), expect)
    }

    /// Lines of all files, each with its line feed.
    fn lines(&self) -> Vec<(usize, Vec<u8>)> {
        let of = |(file, (_, text)): (usize, &(String, Vec<u8>))| {
            text.split_inclusive(|b| *b == b'\n').map(|line| (file, line.to_vec())).collect::<Vec<_>>()
        };
        self.files.iter().enumerate().flat_map(of).collect()
    }

    fn with_lines(&self, lines: &[(usize, Vec<u8>)]) -> Self {
        let of = |file: usize| lines.iter().filter(|(of, _)| *of == file).flat_map(|(_, line)| line.clone()).collect();
        let files = self.files.iter().enumerate().map(|(file, (name, _))| (name.clone(), of(file)));
        Self { files: files.filter(|(_, text): &(String, Vec<u8>)| !text.is_empty()).collect(), end: self.end }
    }

    fn says(&self, expect: &Expectations) -> String {
        let report = self.verify(expect);
        let mut said: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        said.extend(report.torn.map(|torn| format!("{}: torn, {} bytes", torn.file, torn.bytes)));
        said.join("\n")
    }
}

#[test]
fn a_whole_log_is_clean() {
    let log = Log::new(&[3, 0, 2]);
    let report = log.verify(&log.anchor());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.files, report.records, report.first, report.last), (3, 8, Some(1), Some(8)));
    assert!(verify([], &key(), &Expectations::default()).is_clean(), "nothing is no lie");
}

#[test]
fn a_line_reads_as_it_is_written() {
    let mut log = Log::new(&[0]);
    log.add(&Event::Recovered { bytes: 3 });
    let text = String::from_utf8(log.files[0].1.clone()).unwrap();
    insta::assert_snapshot!(text, @r#"
    {"v":"homelab.audit/1","seq":1,"time":"2027-01-15T08:00:00Z","type":"file","previous":{"seq":0,"mac":"0000000000000000000000000000000000000000000000000000000000000000"},"key":"a0172cb2d59f7dff","mac":"f9e77670281d6a7953313043834274721239193ebccead0bee852decf058b3d1"}
    {"v":"homelab.audit/1","seq":2,"time":"2027-01-15T08:00:00Z","type":"recovered","bytes":3,"mac":"39c1024d608691df3e5043cbbae0b3a3de6e460ddf51aa69948e1b2e5de1392b"}
    "#);
}

#[test]
fn each_kind_of_tampering_has_its_words() {
    let log = Log::new(&[3, 2]);
    let lines = log.lines();
    let without = |gone: &[usize]| {
        let kept: Vec<_> =
            lines.iter().enumerate().filter(|(n, _)| !gone.contains(n)).map(|(_, l)| l.clone()).collect();
        log.with_lines(&kept)
    };
    let edited = |n: usize, from: &str, to: &str| {
        let mut lines = lines.clone();
        lines[n].1 = String::from_utf8(lines[n].1.clone()).unwrap().replacen(from, to, 1).into_bytes();
        log.with_lines(&lines)
    };
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    let mut copied = lines.clone();
    copied.insert(3, lines[1].clone());
    let mut cut = log.clone();
    let len = cut.files[0].1.len();
    cut.files[0].1.truncate(len - 5);
    let anchor = log.anchor();
    insta::assert_snapshot!(edited(1, "1.0", "1.1").says(&anchor), @"0.log:2: record 2: was changed: its MAC does not fit it and the record before");
    insta::assert_snapshot!(edited(1, "{", "[").says(&anchor), @"0.log:2: is no record: it was changed, or put there");
    insta::assert_snapshot!(edited(1, "homelab.audit/1", "homelab.audit/2").says(&anchor), @r#"0.log:2: record 2: has the format "homelab.audit/2", this program reads homelab.audit/1"#);
    insta::assert_snapshot!(without(&[1]).says(&anchor), @"0.log:2: record 3: record 2 is missing before it");
    insta::assert_snapshot!(without(&[4]).says(&anchor), @"1.log:1: record 6: record 5 is missing before it");
    insta::assert_snapshot!(without(&[0]).says(&anchor), @"0.log:1: the log begins here: the records up to 1 were not dropped by it");
    insta::assert_snapshot!(without(&[0, 1, 2, 3]).says(&anchor), @"1.log:0: the log begins here: the records up to 4 were not dropped by it");
    insta::assert_snapshot!(without(&[5, 6]).says(&anchor), @"1.log:1: the end is cut off: record 7 was on the disk");
    insta::assert_snapshot!(without(&[4, 5, 6]).says(&anchor), @"0.log:4: the end is cut off: record 7 was on the disk");
    insta::assert_snapshot!(log.with_lines(&swapped).says(&anchor), @r#"
    0.log:2: record 3: record 2 is missing before it
    0.log:3: record 2: stands where record 4 belongs: moved or copied
    "#);
    insta::assert_snapshot!(log.with_lines(&copied).says(&anchor), @"0.log:4: record 2: stands where record 4 belongs: moved or copied");
    insta::assert_snapshot!(cut.says(&anchor), @r#"
    0.log:4: ends within a line although a later file follows
    1.log:1: record 5: record 4 is missing before it
    "#);
    let other = AuditKey::new(&[8; 32]).unwrap();
    let report = verify(Line::all("0.log", &log.files[0].1), &other, &Expectations::default());
    let found: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(found.join("\n"), @"0.log:1: the log was made with the key a0172cb2d59f7dff, which is not the given one");
}

#[test]
fn a_torn_end_is_no_tampering() {
    let mut log = Log::new(&[2]);
    let before = Expectations { anchor: Some(Anchor { at: log.end, time: time() }) };
    let len = log.files[0].1.len();
    log.add(&Event::Stopped {});
    for end in len + 1..log.files[0].1.len() {
        let mut torn = log.clone();
        torn.files[0].1.truncate(end);
        let report = torn.verify(&before);
        assert!(report.is_intact() && !report.is_clean(), "{end}: {report:?}");
        assert_eq!(report.torn.map(|torn| torn.bytes), Some((end - len) as u64));
        // It had been on the disk: then it is a cut.
        assert!(!torn.verify(&log.anchor()).is_intact());
    }
}

#[test]
fn files_that_the_log_dropped_itself_are_not_missed() {
    let mut log = Log::new(&[2, 2, 1]);
    log.files.remove(0);
    assert_eq!(log.says(&log.anchor()), "1.log:0: the log begins here: the records up to 3 were not dropped by it");
    log.add(&Event::Dropped { through: 3 });
    assert!(log.verify(&log.anchor()).is_clean());
    log.files.remove(0);
    assert!(!log.verify(&log.anchor()).is_intact(), "one more than it said");
}

#[test]
fn findings_are_bounded() {
    let mut log = Log::new(&[0]);
    log.files[0].1.extend(b"x\n".repeat(1500));
    let report = log.verify(&Expectations::default());
    assert_eq!((report.findings.len(), report.unlisted), (1000, 500));
}

fn logs() -> impl Strategy<Value = Log> {
    prop::collection::vec(0_usize..4, 1..4).prop_map(|files| Log::new(&files))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_changed_byte_is_found(log in logs(), at in any::<prop::sample::Index>(), xor in 1_u8..=255) {
        let mut log = log;
        let total: usize = log.files.iter().map(|(_, text)| text.len()).sum();
        let mut at = at.index(total);
        for (_, text) in &mut log.files {
            if at < text.len() {
                text[at] ^= xor;
                break;
            }
            at -= text.len();
        }
        // Without an anchor too.
        let report = log.verify(&Expectations::default());
        prop_assert!(!report.is_intact(), "{report:?}");
    }

    #[test]
    fn any_removed_line_is_found(log in logs(), at in any::<prop::sample::Index>(), count in 1_usize..4) {
        let mut lines = log.lines();
        let at = at.index(lines.len());
        let end = (at + count).min(lines.len());
        lines.drain(at..end);
        prop_assert!(!log.with_lines(&lines).verify(&log.anchor()).is_intact());
    }

    #[test]
    fn any_two_swapped_lines_are_found(log in logs(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let mut lines = log.lines();
        let (a, b) = (a.index(lines.len()), b.index(lines.len()));
        prop_assume!(a != b);
        let (one, two) = (lines[a].1.clone(), lines[b].1.clone());
        (lines[a].1, lines[b].1) = (two, one);
        prop_assert!(!log.with_lines(&lines).verify(&Expectations::default()).is_intact());
    }

    #[test]
    fn any_inserted_or_copied_line_is_found(log in logs(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let mut lines = log.lines();
        let copy = lines[from.index(lines.len())].1.clone();
        let to = to.index(lines.len());
        let file = lines[to].0;
        lines.insert(to, (file, copy));
        prop_assert!(!log.with_lines(&lines).verify(&Expectations::default()).is_intact());
    }

    #[test]
    fn any_cut_is_found(log in logs(), at in any::<prop::sample::Index>()) {
        let total: usize = log.files.iter().map(|(_, text)| text.len()).sum();
        let mut left = at.index(total);
        let mut cut = log.clone();
        for (_, text) in &mut cut.files {
            let keep = left.min(text.len());
            text.truncate(keep);
            left -= keep;
        }
        cut.files.retain(|(_, text)| !text.is_empty());
        prop_assert!(!cut.verify(&log.anchor()).is_intact());
    }

    #[test]
    fn noise_is_never_clean_and_never_panics(noise in prop::collection::vec(any::<u8>(), 1..300)) {
        let report = verify(Line::all("noise", &noise), &key(), &Expectations::default());
        prop_assert!(!report.is_clean());
    }

    #[test]
    fn no_text_of_a_value_is_recorded(value in "[a-z]{6,20}", name in "[A-Z]{1,8}") {
        for body in [
            json!({"data": {&name: &value, "deep": [{"x": &value}]}}),
            json!({&name: &value, "role": &value, "versions": [&value], "cas": &value}),
            json!([&value]),
            json!(&value),
        ] {
            let shown = digests(&key(), body.to_string().as_bytes()).to_string();
            prop_assert!(!shown.contains(&value), "{shown}");
            let broken = &body.to_string()[..body.to_string().len() - 1];
            prop_assert!(!digests(&key(), broken.as_bytes()).to_string().contains(&value));
        }
    }
}

#[test]
fn bodies_keep_their_form_and_lose_their_values() {
    let key = AuditKey::new(&[1; 32]).unwrap();
    let body = json!({
        "data": {"pin": 1234, "on": true, "user": "me", "again": "me", "none": null, "cas": 7},
        "options": {"cas": 3}, "versions": [1, 2], "jwt": "eyJ…", "ttl": "1h",
    });
    insta::assert_json_snapshot!(digests(&key, body.to_string().as_bytes()), @r#"
    {
      "data": {
        "again": "hmac:79d6434338b7dd75cda9e7b198311a37",
        "cas": "hmac:13656cedaece6b761b538a74ac8194a6",
        "none": null,
        "on": "hmac:558e96f6f80c6cb800bcef6ad2ed45fd",
        "pin": "hmac:57e16fdb5b89b1092260209954c8ae05",
        "user": "hmac:79d6434338b7dd75cda9e7b198311a37"
      },
      "jwt": "hmac:39780812299470e1a46a8c3fa768e85c",
      "options": {
        "cas": 3
      },
      "ttl": "hmac:4cd72ed0ec1ad03b461d7478e33979ba",
      "versions": [
        1,
        2
      ]
    }
    "#);
    assert_eq!(digests(&key, b""), Value::Null);
    assert_eq!(digests(&key, b"not json"), key.digest(b"not json"));
    assert_eq!(digests(&key, b"{} {}"), key.digest(b"{} {}"), "more than one value");
    let many =
        json!({"data": (0..1000).map(|n| (n.to_string(), json!("v"))).collect::<serde_json::Map<_, _>>()}).to_string();
    assert_eq!(digests(&key, many.as_bytes()), key.digest(many.as_bytes()), "a form that is too large is one digest");
}

#[test]
fn equal_values_have_equal_digests_under_one_key_only() {
    let (one, two) = (AuditKey::new(&[1; 32]).unwrap(), AuditKey::new(&[2; 32]).unwrap());
    assert_eq!(one.digest(b"v"), one.digest(b"v"));
    assert_ne!(one.digest(b"v"), one.digest(b"w"));
    assert_ne!(one.digest(b"v"), two.digest(b"v"));
    assert_ne!(one.name(), two.name());
    let shown = format!("{one:?}");
    assert!(shown.contains(one.name()) && shown.contains('…') && !shown.contains("[1"), "{shown}");
}

#[test]
fn an_anchor_opens_with_its_key_only() {
    let (key, log) = (key(), Log::new(&[1]));
    let anchor = log.anchor().anchor.unwrap();
    let text = anchor.to_text(&key).unwrap();
    assert_eq!(Anchor::from_text(text.as_bytes(), &key).unwrap(), anchor);
    assert!(Anchor::from_text(text.as_bytes(), &AuditKey::new(&[1; 32]).unwrap()).is_err());
    for changed in [text.replace(r#""seq":2"#, r#""seq":1"#), text.replace("2027", "2026"), String::new()] {
        assert!(Anchor::from_text(changed.as_bytes(), &key).is_err(), "{changed}");
    }
    insta::assert_snapshot!(Anchor::from_text(text.replace("anchor/1", "anchor/2").as_bytes(), &key).unwrap_err(), @r#"the audit log's anchor has format "homelab.audit.anchor/2", this program reads homelab.audit.anchor/1"#);
}

#[test]
fn what_waits_for_the_disk() {
    use Durability::{Synced, Written};
    use Operation::{List, Login, Patch, Read, Update};
    let machine = Identity::account(Account::new("web", "web"));
    let person = Identity::User { name: "me".into(), groups: vec![] };
    let (machine, person) = (Some(&machine), Some(&person));
    for (who, op, status, expected) in [
        (machine, Read, 200, Written),
        (machine, List, 200, Written),
        (machine, Read, 403, Written),
        (Some(&Identity::AppRole { role: "backup".into() }), Read, 200, Written),
        (Some(&Identity::Token { name: "mine".into() }), Read, 200, Synced),
        (machine, Update, 200, Synced),
        (machine, Patch, 500, Synced),
        (machine, Update, 403, Written),
        (machine, Login, 200, Synced),
        (person, Read, 200, Synced),
        (person, Read, 403, Synced),
        (Some(&Identity::Root), Read, 200, Synced),
        (None, Read, 403, Written),
        (None, Update, 403, Written),
        (None, Login, 200, Synced),
        (None, Login, 403, Synced),
        (None, Read, 200, Synced),
    ] {
        assert_eq!(durability(Mode::People, who, op, status), expected, "{who:?} {op:?} {status}");
        assert_eq!(durability(Mode::Always, who, op, status), Synced);
    }
}

#[test]
fn operations() {
    for (method, path, lists, expected) in [
        ("GET", "kv/data/a", false, Operation::Read),
        ("GET", "kv/metadata/a", true, Operation::List),
        ("LIST", "kv/metadata/a", false, Operation::List),
        ("PUT", "kv/data/a", false, Operation::Update),
        ("POST", "kv/data/login", false, Operation::Update),
        ("POST", "auth/kubernetes/login", false, Operation::Login),
        ("PUT", "auth/userpass/login/me", false, Operation::Login),
        ("POST", "auth/login", false, Operation::Update),
        ("POST", "sys/homelab/versions/watch", false, Operation::Read),
        ("POST", "sys/homelab/versions/pin/x", false, Operation::Update),
        ("PATCH", "kv/data/a", false, Operation::Patch),
        ("DELETE", "kv/data/a", false, Operation::Delete),
        ("TRACE", "kv/data/a", false, Operation::Other),
    ] {
        assert_eq!(Operation::of(method, path, lists), expected, "{method} {path}");
    }
}

#[test]
fn paths_and_queries_show_no_token() {
    let token = "hls.AAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(shown_path("kv/data/web/db"), "kv/data/web/db");
    assert_eq!(shown_path(&format!("auth/token/lookup/{token}")), "auth/token/lookup/…");
    assert_eq!(shown_path(&format!("auth/token/{}", token.replace('.', "%2e"))), "auth/token/…");
    assert_eq!(shown_path(&format!("{token}/eyJhbGciOiJSUzI1NiIsImtpZCI6")), "…/…");
    let long = shown_path(&"é".repeat(2000)).into_owned();
    assert!(long.len() < 1100 && long.ends_with("… (4000 bytes)"), "{long}");
    assert_eq!(shown_query("version=3&list=true&token=abc&version=x&depth=1"), "version=3&list=true&depth=1");
    assert_eq!(shown_query(""), "");
}
