//! The recovery key: 256 random bits that a person can copy from paper.
//!
//! Written in Crockford's base32 in groups of four, with 24 bits that find a slip of the pen. The key of its slot and its
//! name are derived from the bits.

use std::fmt;

use data_encoding::{Encoding, Specification};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{KeyId, Random, expand};
use crate::Error;
use crate::seal::SivKey;

const WORD: &str = "homelab-recovery/1";
const KEY_LABEL: &[u8] = b"homelab.recovery.key/1";
const ID_LABEL: &[u8] = b"homelab.recovery.id/1";
const CHECK: usize = 3;

/// A recovery key.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RecoveryKey([u8; 32]);

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey(…)")
    }
}

impl RecoveryKey {
    /// A new one.
    pub fn generate(random: Random<'_>) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        random(&mut *bytes)?;
        Ok(Self(*bytes))
    }

    /// One line: `homelab-recovery/1 XXXX-XXXX-…`, 14 groups.
    pub fn to_text(&self) -> Result<Zeroizing<String>, Error> {
        let mut all = Zeroizing::new(self.0.to_vec());
        all.extend_from_slice(&self.check());
        let letters = Zeroizing::new(crockford()?.encode(&all));
        let mut text = Zeroizing::new(String::with_capacity(WORD.len() + 1 + letters.len() * 5 / 4));
        text.push_str(WORD);
        for (n, letter) in letters.chars().enumerate() {
            if n % 4 == 0 {
                text.push(if n == 0 { ' ' } else { '-' });
            }
            text.push(letter);
        }
        Ok(text)
    }

    /// Reads it as it was written, or as somebody typed it: in any case, with or without the word in front, the dashes
    /// and spaces; `O` is read as 0, `I` and `L` as 1.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Invalid(format!("this is not a recovery key: {why}"));
        let letters = text.trim();
        let letters = letters.strip_prefix(WORD).unwrap_or(letters);
        if letters.contains('/') {
            return Err(wrong(&format!("it starts with a word that is not {WORD}")));
        }
        let all = crockford()?.decode(letters.as_bytes());
        let all = Zeroizing::new(all.map_err(|_| wrong("it has 14 groups of 4 letters and digits"))?);
        let (bytes, check) = all.split_first_chunk::<32>().ok_or_else(|| wrong("it has 14 groups of 4"))?;
        let key = Self(*bytes);
        if check != key.check() {
            return Err(wrong("a letter or digit is wrong, or some are missing"));
        }
        Ok(key)
    }

    /// Finds slips, proves nothing; made so that it says nothing of the key to who has not got most of it.
    fn check(&self) -> [u8; CHECK] {
        let digest = Sha256::new().chain_update(WORD).chain_update(self.0).finalize();
        [digest[0], digest[1], digest[2]]
    }

    pub(super) fn key(&self) -> Result<SivKey, Error> {
        Ok(SivKey::new(*expand(&self.0, KEY_LABEL)?))
    }

    pub(super) fn id(&self) -> Result<KeyId, Error> {
        Ok(KeyId::new(*expand(&self.0, ID_LABEL)?))
    }
}

fn crockford() -> Result<Encoding, Error> {
    let mut alphabet = Specification::new();
    alphabet.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    alphabet.translate.from.push_str("abcdefghjkmnpqrstvwxyzOoIiLl");
    alphabet.translate.to.push_str("ABCDEFGHJKMNPQRSTVWXYZ001111");
    alphabet.ignore.push_str("- \t\r\n");
    alphabet.encoding().map_err(|_| Error::Bug("the alphabet of recovery keys is not one".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> RecoveryKey {
        RecoveryKey(std::array::from_fn(|n| n as u8 * 7))
    }

    #[test]
    fn it_reads_back_as_written_and_as_typed() {
        let text = sample().to_text().unwrap();
        insta::assert_snapshot!(*text, @"homelab-recovery/1 003G-W58W-4CN3-2E1Z-8S6N-8PV2-D5R7-EZM5-HJ9S-N8D8-NYVB-VH6B-TBCW-G9MC");
        let typed = text.to_lowercase().replace("homelab-recovery/1 ", "").replace('-', " ").replace('0', "o");
        for form in [text.to_string(), typed.replace(' ', ""), typed, format!("{}\n", *text)] {
            assert_eq!(RecoveryKey::from_text(&form).unwrap().0, sample().0, "{form}");
        }
    }

    #[test]
    fn slips_are_found() {
        let text = sample().to_text().unwrap().to_string();
        let wrong = |text: String| RecoveryKey::from_text(&text).unwrap_err().to_string();
        let last = if text.ends_with('A') { "B" } else { "A" };
        insta::assert_snapshot!(wrong(format!("{}{last}", &text[..text.len() - 1])), @"this is not a recovery key: a letter or digit is wrong, or some are missing");
        insta::assert_snapshot!(wrong(text[..text.len() - 5].to_owned()), @"this is not a recovery key: it has 14 groups of 4 letters and digits");
        insta::assert_snapshot!(wrong(text.replace("/1", "/2")), @"this is not a recovery key: it starts with a word that is not homelab-recovery/1");
        insta::assert_snapshot!(wrong("U!".into()), @"this is not a recovery key: it has 14 groups of 4 letters and digits");
        assert!(RecoveryKey::from_text("").is_err());
    }
}
