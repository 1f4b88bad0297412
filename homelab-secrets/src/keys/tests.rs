use std::cell::Cell;

use super::*;
use crate::seal::{Form, Front, Place, open_record, seal_record};

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

fn create(unlock: &Unlock, random: Random<'_>) -> KeyTable {
    KeyTable::create(&[NewSlot::of(unlock, random).unwrap()], random).unwrap()
}

fn words(text: &str) -> Unlock {
    Unlock::Passphrase(Zeroizing::new(text.into()))
}

#[test]
fn a_stored_table_opens_to_keys_that_open_what_they_sealed() {
    let random = counting();
    let slot = SlotKey::generate(&random).unwrap();
    let text = slot.to_file();
    let table = create(&Unlock::KeyFile(slot), &random);

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
    let mut table = create(&file(&random), &random);
    insta::assert_snapshot!(table.open(&file(&random)).unwrap_err(),
        @"no slot of the store belongs to this key: use the key file that the store was made with");
    insta::assert_snapshot!(table.open(&words("no matter")).unwrap_err(), @"the store has no slot for a passphrase");
    table = create(&words("right words"), &random);
    assert!(table.open(&words("right words")).is_ok());
    assert!(matches!(table.open(&words("wrong words")), Err(Error::Unsealed { .. })));
    assert!(NewSlot::of(&words("short"), &random).is_err());
}

#[test]
fn several_slots_open_the_same_keys_and_the_last_one_stays() {
    let random = counting();
    let first = file(&random);
    let mut table = create(&first, &random);
    let ring = table.open(&first).unwrap();
    let recovery = RecoveryKey::generate(&random).unwrap();
    let text = recovery.to_text().unwrap();
    let secret = SlotKey::generate(&random).unwrap();
    let others = [words("right words"), Unlock::Recovery(recovery), Unlock::KubernetesSecret(secret.clone())];
    for unlock in &others {
        let slot = NewSlot::of(unlock, &random).unwrap();
        table.add_slot(&ring, &slot).unwrap();
        assert!(matches!(table.add_slot(&ring, &slot), Err(Error::Conflict(_))), "once");
    }
    let kinds: Vec<_> = table.slots.iter().map(|slot| (slot.how.name(), slot.how.opens_alone())).collect();
    let expected = [("key file", true), ("passphrase", false), ("recovery key", false), ("Kubernetes Secret", true)];
    assert_eq!(kinds, expected);
    let stored = KeyTable::from_json(&table.to_json().unwrap()).unwrap();
    let typed = Unlock::Recovery(RecoveryKey::from_text(&text).unwrap());
    for unlock in others.iter().chain([&first, &typed, &Unlock::KeyFile(secret)]) {
        let again = stored.open(unlock).unwrap();
        assert_eq!((again.active(), again.digest(&[b"v"]).unwrap()), (ring.active(), ring.digest(&[b"v"]).unwrap()));
    }
    for id in table.slots.iter().map(Slot::id).collect::<Vec<_>>() {
        let removed = table.remove_slot(id);
        assert_eq!(removed.is_ok(), !table.slots.iter().any(|slot| slot.id() == id), "{removed:?}");
    }
    assert_eq!(table.slots.len(), 1);
    assert!(matches!(table.open(&first), Err(Error::Invalid(_))), "a removed slot opens nothing");
    assert!(matches!(table.remove_slot(KeyId::new([9; 16])), Err(Error::NotFound(_))));
}

#[test]
fn a_new_epoch_seals_and_the_old_ones_still_open() {
    let random = counting();
    let unlock = file(&random);
    let mut table = create(&unlock, &random);
    let old = table.open(&unlock).unwrap();
    assert_eq!(table.add_epoch(&old, &random).unwrap(), 2);
    let new = table.reopen(&old).unwrap();
    assert_ne!(new.active(), old.active());
    assert!(new.key(old.active(), Form::State).is_some());
    assert_eq!(new.digest(&[b"v"]).unwrap(), old.digest(&[b"v"]).unwrap());
    assert_eq!(*new.derived("p").unwrap(), *old.derived("p").unwrap());
    table.drop_epochs_before(2);
    let left = table.open(&unlock).unwrap();
    assert!(left.key(old.active(), Form::State).is_none() && left.key(new.active(), Form::State).is_some());
    table.drop_epochs_before(99);
    assert_eq!(table.epochs.len(), 1, "the newest one always stays");
}

#[test]
fn a_new_root_shuts_out_old_slots_and_keeps_data_keys() {
    let random = counting();
    let (old, new) = (file(&random), file(&random));
    let mut table = create(&old, &random);
    let before = table.open(&old).unwrap();
    let ring = table.replace_root(&before, &[NewSlot::of(&new, &random).unwrap()], &random).unwrap();
    assert!(table.open(&old).is_err() && table.reopen(&before).is_err());
    let again = KeyTable::from_json(&table.to_json().unwrap()).unwrap().open(&new).unwrap();
    for ring in [&ring, &again] {
        assert_eq!((ring.active(), ring.digest(&[b"v"]).unwrap()), (before.active(), before.digest(&[b"v"]).unwrap()));
    }
    assert!(table.replace_root(&again, &[], &random).is_err(), "something has to open it");
}

#[test]
fn a_wrapped_key_can_take_no_other_place() {
    let random = counting();
    let unlock = file(&random);
    let mut table = create(&unlock, &random);
    let data = table.epochs[0].key.clone();
    table.epochs[0].key = std::mem::replace(&mut table.digest, data);
    assert!(matches!(table.open(&unlock), Err(Error::Unsealed { .. })));
}

#[test]
fn tables_of_earlier_formats_are_read_and_written_as_the_newest() {
    let random = counting();
    let unlock = file(&random);
    let table = create(&unlock, &random);
    for format in [1, 2] {
        let old = serde_json::to_string(&KeyTable { format, ..table.clone() }).unwrap();
        let read = KeyTable::from_json(old.as_bytes()).unwrap();
        assert!(read.open(&unlock).is_ok());
        assert_eq!(read.to_json().unwrap(), table.to_json().unwrap());
    }
}

#[test]
fn a_slot_for_age_holds_what_its_identities_open_and_is_opened_by_the_key_in_it() {
    let random = counting();
    let (unlock, key) = (file(&random), SlotKey::generate(&random).unwrap());
    let mut table = create(&unlock, &random);
    let sealed = |recipients: &[&str], sealed: &str| ForAge {
        recipients: recipients.iter().map(|text| (*text).to_owned()).collect(),
        sealed: sealed.into(),
    };
    let slot = |sealed| NewSlot::of(&Unlock::Age(key.clone(), sealed), &random);
    let ring = table.open(&unlock).unwrap();
    let id = table.add_slot(&ring, &slot(sealed(&["age1abc"], "c2VhbGVk")).unwrap()).unwrap();
    let read = KeyTable::from_json(&table.to_json().unwrap()).unwrap();
    let SlotKind::Age(kept) = &read.slots[1].how else { panic!("another kind: {read:?}") };
    assert_eq!((id, kept), (key.id(), &sealed(&["age1abc"], "c2VhbGVk")));
    assert!(read.slots[1].how.opens_alone() && !read.slots[1].how.in_etcd());
    assert!(read.open(&Unlock::KeyFile(key.clone())).is_ok());
    let long = "x".repeat(17_000);
    for wrong in [
        sealed(&[], "c2VhbGVk"),
        sealed(&["age1abc"; 17], "c2VhbGVk"),
        sealed(&["age1 abc"], "c2VhbGVk"),
        sealed(&["age1abc"], "not base64"),
        sealed(&[&long], "c2VhbGVk"),
    ] {
        assert!(matches!(slot(wrong), Err(Error::Invalid(_))));
    }
}

#[test]
fn newer_tables_and_greedy_slots_are_refused() {
    let newer = KeyTable::from_json(br#"{"format": 4, "other": true}"#).unwrap_err();
    insta::assert_snapshot!(newer, @"the key table has format 4, this program reads 3");
    assert!(slot::stretch("w", "c2FsdHNhbHQ=", (u32::MAX, 3, 1)).is_err());
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
    let ring = create(&unlock, &random).open(&unlock).unwrap();
    let recovery = RecoveryKey::generate(&random).unwrap();
    let slot_of = NewSlot::of(&unlock, &random).unwrap();
    let all = format!(
        "{shown} {unlock:?} {ring:?} {recovery:?} {slot_of:?} {:?}",
        Unlock::Passphrase(Zeroizing::new("swordfish".into()))
    );
    // Ids are shown and are made of the same byte here: 16 of them, a key would have 64.
    assert!(!all.contains(&"ab".repeat(17)) && !all.contains("171, 171") && !all.contains("swordfish"), "{all}");
}
