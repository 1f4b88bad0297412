use aes_siv::siv::Aes128Siv;
use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

/// RFC 5297, A.1 and A.2 (both with AES-128: the RFC has no vectors of AES-256).
#[test]
fn the_cipher_gives_the_vectors_of_rfc_5297() {
    let key: [u8; 32] =
        hex("fffefdfc fbfaf9f8 f7f6f5f4 f3f2f1f0 f0f1f2f3 f4f5f6f7 f8f9fafb fcfdfeff").try_into().unwrap();
    let ad = hex("10111213 14151617 18191a1b 1c1d1e1f 20212223 24252627");
    let out = Aes128Siv::new(&key.into()).encrypt([&ad], &hex("11223344 55667788 99aabbcc ddee")).unwrap();
    assert_eq!(out, hex("85632d07 c6e8f37f 950acd32 0a2ecc93 40c02b96 90c4dc04 daef7f6a fe5c"));

    let key: [u8; 32] =
        hex("7f7e7d7c 7b7a7978 77767574 73727170 40414243 44454647 48494a4b 4c4d4e4f").try_into().unwrap();
    let ads = [
        hex("00112233 44556677 8899aabb ccddeeff deaddada deaddada ffeeddcc bbaa9988 77665544 33221100"),
        hex("10203040 50607080 90a0"),
        hex("09f91102 9d74e35b d84156c5 635688c0"),
    ];
    let plain = hex(
        "74686973 20697320 736f6d65 20706c61 696e7465 78742074 6f20656e 63727970 74207573 696e6720 5349562d 414553",
    );
    let out = Aes128Siv::new(&key.into()).encrypt(&ads, &plain).unwrap();
    let expected = hex(
        "7bdb6e3b 432667eb 06f4d14b ff2fbd0f cb900f2f ddbe4043 26601965 c889bf17 dba77ceb 094fa663 b7a3f748 ba8af829 \
         ea64ad54 4a272e9c 485b62a3 fd5c0d",
    );
    assert_eq!(out, expected);
}

#[test]
fn associated_data_is_a_vector() {
    let key = SivKey::new([7; 64]);
    assert_ne!(key.seal(&[b"a", b"b1"], b"x").unwrap(), key.seal(&[b"ab", b"1"], b"x").unwrap());
}

const MOUNT: [u8; 16] = [3; 16];

fn sample(form: Form) -> (SivKey, Vec<u8>) {
    let key = SivKey::new([9; 64]);
    let front = Front { key: KeyId::new([1; 16]), number: 4, nonce: [5; 16] };
    let record = seal_record(form, &key, front, Place { mount: &MOUNT, path: "web/db" }, b"hunter2").unwrap();
    (key, record)
}

#[test]
fn a_record_opens_only_where_and_as_what_it_was_sealed() {
    let (key, record) = sample(Form::Version);
    let here = Place { mount: &MOUNT, path: "web/db" };
    assert_eq!(&*open_record(Form::Version, &key, here, &record).unwrap(), b"hunter2");
    let broken = Err(OpenError::Broken);
    let other_path = Place { path: "web/dc", ..here };
    assert_eq!(open_record(Form::Version, &key, other_path, &record).map(drop), broken);
    let other_mount = Place { mount: &[4; 16], ..here };
    assert_eq!(open_record(Form::Version, &key, other_mount, &record).map(drop), broken);
    assert_eq!(open_record(Form::Version, &SivKey::new([8; 64]), here, &record).map(drop), broken);
    assert_eq!(open_record(Form::State, &key, here, &record).map(drop), Err(OpenError::UnknownFormat(1)));
    let mut later = record;
    later[1 + 16 + 7] = 5;
    assert_eq!(open_record(Form::Version, &key, here, &later).map(drop), broken, "another version");
}

#[test]
fn every_truncation_and_every_flipped_bit_fails_closed() {
    for form in [Form::Version, Form::State] {
        let (key, record) = sample(form);
        let here = Place { mount: &MOUNT, path: "web/db" };
        for len in 0..record.len() {
            assert!(open_record(form, &key, here, &record[..len]).is_err(), "cut to {len}");
        }
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open_record(form, &key, here, &changed).is_err(), "bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        key in any::<[u8; 32]>(), id in any::<[u8; 16]>(), mount in any::<[u8; 16]>(), path in "[a-z/]{1,40}",
        number in any::<u64>(), nonce in any::<[u8; 16]>(), plain in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let key = SivKey::new([key, key].concat().try_into().unwrap());
        let place = Place { mount: &mount, path: &path };
        let front_in = Front { key: KeyId::new(id), number, nonce };
        let record = seal_record(Form::Version, &key, front_in, place, &plain).unwrap();
        prop_assert_eq!(front(Form::Version, &record).unwrap(), front_in);
        prop_assert_eq!(&*open_record(Form::Version, &key, place, &record).unwrap(), &plain);
    }

    #[test]
    fn rubbish_never_opens(record in prop::collection::vec(any::<u8>(), 0..200)) {
        let place = Place { mount: &MOUNT, path: "p" };
        prop_assert!(open_record(Form::State, &SivKey::new([2; 64]), place, &record).is_err());
    }
}
