use super::*;
use serde_json::json;

fn wish(value: Value) -> GeneratedSecret {
    serde_json::from_value(value).unwrap()
}

/// Bytes that count up: the same in each run.
fn counting(bytes: &mut [u8]) -> Result<(), Error> {
    bytes.iter_mut().zip(0_u8..).for_each(|(byte, n)| *byte = n.wrapping_mul(37).wrapping_add(11));
    Ok(())
}

fn made(values: Value) -> Result<Map<String, Value>, Problem> {
    make(&wish(json!({"path": "kv/web/db", "values": values})), &Values::default(), &counting)
}

#[test]
fn values_are_made_as_asked() {
    let made = made(json!([
        {"key": "user", "text": "web"},
        {"key": "password", "password": {}},
        {"key": "pin", "password": {"length": 8, "alphabet": "0123456789"}},
        {"key": "id", "uuid": {}},
        {"key": "key", "keyPair": {}},
    ]))
    .unwrap();
    assert_eq!(made["user"], "web");
    assert!(made["password"].as_str().unwrap().len() == 32 && made["password"].as_str().unwrap().is_ascii());
    assert!(
        made["pin"].as_str().unwrap().bytes().all(|b| b.is_ascii_digit()) && made["pin"].as_str().unwrap().len() == 8
    );
    let id = made["id"].as_str().unwrap();
    assert!(id.len() == 36 && id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
    assert!(made["key"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert!(made["key.pub"].as_str().unwrap().ends_with("\n-----END PUBLIC KEY-----\n"));
}

/// RFC 8410, 10.3 has this key with this seed; 10.1 its public half.
#[test]
fn key_pairs_are_those_of_the_rfc() {
    let seed =
        data_encoding::HEXLOWER.decode(b"d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842").unwrap();
    let fill = |bytes: &mut [u8]| {
        bytes.copy_from_slice(&seed);
        Ok(())
    };
    let (private, public) = key_pair(&fill).unwrap();
    assert!(private.contains("\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"), "{private}");
    assert!(public.contains("\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"), "{public}");
}

#[test]
fn each_character_is_as_likely_as_any_other() {
    // All bytes once: those that would favour the first characters are thrown away.
    let all = |bytes: &mut [u8]| {
        static AT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        for byte in bytes.iter_mut() {
            *byte = (AT.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 256) as u8;
        }
        Ok(())
    };
    let text = password(250, b"0123456789", &all).unwrap();
    for digit in "0123456789".chars() {
        assert_eq!(text.matches(digit).count(), 25, "{digit}");
    }
}

#[test]
fn what_can_not_be_made_says_why() {
    for (values, expected) in [
        (json!([{"key": "a", "text": "x"}, {"key": "a", "uuid": {}}]), "makes key \"a\" of kv/web/db twice"),
        (json!([{"key": "a"}]), "says not what is made"),
        (json!([{"key": "a", "password": {"alphabet": "aab"}}]), "each once"),
        (json!([{"key": "a", "password": {"alphabet": "a b"}}]), "visible ASCII"),
    ] {
        let problem = made(values).unwrap_err();
        assert!(problem.message.contains(expected) && problem.reason == "InvalidGenerator", "{problem:?}");
    }
    let dry = |_: &mut [u8]| Err(Error::Backend("the system gave no random bytes".into()));
    let wish = wish(json!({"path": "kv/a", "values": [{"key": "a", "uuid": {}}]}));
    assert!(make(&wish, &Values::default(), &dry).unwrap_err().passing);
}

#[test]
fn what_is_due_follows_from_who_wrote_and_when() {
    let account = Account::new("web", "default");
    let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
    let ours = |asked| Some(writer(&account, "db", asked));
    let stand = |writer: Option<String>| Some(Stand { version: 3, created: at(10), writer });
    let once = wish(json!({"path": "kv/web/db", "values": []}));
    let daily = wish(json!({"path": "kv/web/db", "values": [], "rotateEvery": "24h"}));
    let nothing = Due::Nothing { again: None };
    let later = Due::Nothing { again: Some(at(34)) };
    for (what, wish, stand, asked, now, expected) in [
        ("nothing there", &once, None, None, 10, Due::Write { cas: 0 }),
        ("there", &once, stand(ours(None)), None, 1000, nothing),
        ("young", &daily, stand(ours(None)), None, 33, later),
        ("old", &daily, stand(ours(None)), None, 34, Due::Write { cas: 3 }),
        ("asked for", &once, stand(ours(None)), Some("b"), 10, Due::Write { cas: 3 }),
        ("asked for again", &once, stand(ours(Some("a"))), Some("b"), 10, Due::Write { cas: 3 }),
        ("answered", &daily, stand(ours(Some("b"))), Some("b"), 11, later),
        ("request taken back", &once, stand(ours(Some("b"))), None, 11, nothing),
        ("a person's, old and asked for", &daily, stand(Some("user ann".into())), Some("b"), 99, nothing),
        ("another SecretSync's", &daily, stand(Some(writer(&account, "db2", None))), Some("b"), 99, nothing),
        ("another namespace's", &daily, stand(Some("secretsync infra/db".into())), None, 99, nothing),
    ] {
        assert_eq!(due(wish, stand.as_ref(), (&account, "db"), asked, at(now)), Ok(expected), "{what}");
    }
    let deleted = due(&daily, stand(None).as_ref(), (&account, "db"), Some("b"), at(99)).unwrap_err();
    assert!(deleted.reason == "GeneratedDeleted" && deleted.message.contains("undelete"), "{deleted:?}");
}

#[test]
fn accounts_take_turns_and_the_one_that_was_in_use_keeps_its_password() {
    let wish =
        wish(json!({"path": "kv/web/db", "values": [{"key": "user", "accounts": {"a": "web_a", "b": "web_b"}}]}));
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let random = |bytes: &mut [u8]| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (call * 64 + at) as u8);
        Ok(())
    };
    assert!(takes_turns(&wish));
    let (mut before, mut users) = (Map::new(), Vec::new());
    for _ in 0..4 {
        let after = make(&wish, &Values::of(&before), &random).unwrap();
        let user = after["user"].as_str().unwrap().to_owned();
        assert_eq!((after["password"] == after[&user], after.len()), (true, 4));
        if let Some(earlier) = users.last() {
            assert_eq!(after[earlier], before[earlier], "who still uses it goes on");
            assert!(before.get(&user) != after.get(&user), "the next one's is new");
        }
        users.push(user);
        before = after;
    }
    assert_eq!(users, ["web_a", "web_b", "web_a", "web_b"]);
}
