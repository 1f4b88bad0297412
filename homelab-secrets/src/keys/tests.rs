use std::cell::Cell;

use super::*;
use crate::seal::{Front, Place, open_record, seal_record};

/// Bytes that never repeat, so that two keys of a test never are equal.
fn counting() -> impl Fn(&mut [u8]) -> Result<(), Error> {
    let next = Cell::new(1_u64);
    move |buffer| {
        for chunk in buffer.chunks_mut(8) {
            let bytes = next.replace(next.get() + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

fn file(random: Random<'_>) -> Unlock {
    Unlock::KeyFile(SlotKey::generate(random).unwrap())
}

#[test]
fn a_stored_table_opens_to_keys_that_open_what_they_sealed() {
    let random = counting();
    let slot = SlotKey::generate(&random).unwrap();
    let text = slot.to_file();
    let table = KeyTable::create(&Unlock::KeyFile(slot), &random).unwrap();

    let again = Unlock::KeyFile(SlotKey::from_file(&text).unwrap());
    let stored = KeyTable::from_json(&table.to_json().unwrap()).unwrap();
    assert_eq!(stored, table);
    let (one, two) = (table.open(&again).unwrap(), stored.open(&again).unwrap());
    let place = Place { mount: &[1; 16], path: "p" };
    let front = Front { key: one.active(), number: 1, nonce: [0; 16] };
    let key = one.key(one.active(), Form::State).unwrap();
    let record = seal_record(Form::State, key, front, place, b"x").unwrap();
    assert_eq!(&*open_record(Form::State, two.key(front.key, Form::State).unwrap(), place, &record).unwrap(), b"x");
    assert!(
        open_record(Form::State, two.key(front.key, Form::Version).unwrap(), place, &record).is_err(),
        "own subkeys"
    );
    assert_eq!(one.digest(&[b"a", b"b"]).unwrap(), two.digest(&[b"a", b"b"]).unwrap());
    assert_ne!(one.digest(&[b"a", b"b"]).unwrap(), one.digest(&[b"ab", b""]).unwrap());
    assert!(one.key(KeyId::new([0; 16]), Form::State).is_none());
}

#[test]
fn another_key_file_is_refused_by_name_and_a_wrong_passphrase_by_its_seal() {
    let random = counting();
    let mut table = KeyTable::create(&file(&random), &random).unwrap();
    insta::assert_snapshot!(table.open(&file(&random)).unwrap_err(),
        @"no slot of the store belongs to this key: use the key file that the store was made with");
    let words = |w: &str| Unlock::Passphrase(Zeroizing::new(w.into()));
    table = KeyTable::create(&words("right"), &random).unwrap();
    assert!(table.open(&words("right")).is_ok());
    assert!(matches!(table.open(&words("wrong")), Err(Error::Unsealed { .. })));
}

#[test]
fn a_second_slot_opens_the_same_keys() {
    let random = counting();
    let (first, second) = (file(&random), file(&random));
    let mut table = KeyTable::create(&first, &random).unwrap();
    table.add_slot(&first, &second, &random).unwrap();
    let (a, b) = (table.open(&first).unwrap(), table.open(&second).unwrap());
    assert_eq!((a.active(), a.digest(&[b"v"]).unwrap()), (b.active(), b.digest(&[b"v"]).unwrap()));
}

#[test]
fn a_wrapped_key_can_take_no_other_place() {
    let random = counting();
    let unlock = file(&random);
    let mut table = KeyTable::create(&unlock, &random).unwrap();
    let data = table.epochs[0].key.clone();
    table.epochs[0].key = std::mem::replace(&mut table.digest, data);
    assert!(matches!(table.open(&unlock), Err(Error::Unsealed { .. })));
}

#[test]
fn newer_tables_and_greedy_slots_are_refused() {
    let newer = KeyTable::from_json(br#"{"format": 2, "other": true}"#).unwrap_err();
    insta::assert_snapshot!(newer, @"the key table has format 2, this program reads 1");
    assert!(stretch("w", "c2FsdHNhbHQ=", (u32::MAX, 3, 1)).is_err());
    assert!(SlotKey::from_file("homelab-key/1 00 x").is_err());
}

#[test]
fn debug_shows_no_key() {
    let random = |buffer: &mut [u8]| {
        buffer.fill(0xab);
        Ok(())
    };
    let slot = SlotKey::generate(&random).unwrap();
    let shown = format!("{slot:?}");
    let unlock = Unlock::KeyFile(slot);
    let ring = KeyTable::create(&unlock, &random).unwrap().open(&unlock).unwrap();
    let all = format!("{shown} {unlock:?} {ring:?} {:?}", Unlock::Passphrase(Zeroizing::new("swordfish".into())));
    // Ids are shown and are made of the same byte here: 16 of them, a key would have 64.
    assert!(!all.contains(&"ab".repeat(17)) && !all.contains("171, 171") && !all.contains("swordfish"), "{all}");
}
