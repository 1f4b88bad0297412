//! Sealed records, and the table of wrapped keys.

use homelab_secrets::keys::{KeyId, KeyTable, NewSlot, SlotKey, Unlock};
use homelab_secrets::seal::{Form, Front, Place, SivKey, front, open_record, seal_record};
use proptest::prelude::*;

use crate::change::{changed, config};

const HERE: Place<'_> = Place { mount: &[3; 16], path: "web/db" };

fn key() -> SivKey {
    SivKey::new([7; SivKey::LEN])
}

fn record(form: Form) -> Vec<u8> {
    let front = Front { key: KeyId::new([1; KeyId::LEN]), number: 4, nonce: [9; 16] };
    seal_record(form, &key(), front, HERE, br#"{"format":1,"content":{"password":"hunter2"}}"#).expect("sealed")
}

fn table() -> Vec<u8> {
    let random = |buffer: &mut [u8]| {
        buffer.fill(5);
        Ok(())
    };
    let slot = NewSlot::of(&Unlock::KeyFile(SlotKey::generate(&random).expect("a key")), &random).expect("a slot");
    KeyTable::create(&[slot], &random).expect("a table").to_json().expect("JSON")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn only_what_was_sealed_opens(sent in changed(vec![record(Form::Version), record(Form::State)], &["\u{1}", "\u{81}"])) {
        for form in [Form::Version, Form::State] {
            let _ = front(form, &sent);
            match open_record(form, &key(), HERE, &sent) {
                Ok(_) => prop_assert_eq!(&sent, &record(form)),
                Err(error) => {
                    let words = format!("{error} {error:?}");
                    prop_assert!(!words.contains("hunter2"));
                }
            }
        }
    }

    #[test]
    fn any_table_of_keys_is_read_or_refused(sent in changed(vec![table()], &["{", "}", "[", "\"", "null", "99999999999999999999", "\"format\":2"])) {
        if let Ok(table) = KeyTable::from_json(&sent) {
            prop_assert!(table.to_json().is_ok());
        }
    }
}
