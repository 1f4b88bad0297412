//! The key of a slot, sealed for age identities: who has one of these opens the store.
//!
//! Identities and recipients are age's own (`age-keygen`), of X25519. What is sealed is an ordinary age file around the text
//! of a key file, so `age -d` opens it, too.

use std::fmt;
use std::io::{Read as _, Write as _};

use age::x25519::{Identity, Recipient};
use age::{Decryptor, Encryptor};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::Error;
use crate::keys::{ForAge, SlotKey};

/// Longest text in a slot that is read, bytes; a key file has some 130.
const MAX_TEXT: u64 = 4096;

/// Identities, as `age-keygen` writes them. `Debug` shows how many.
pub struct AgeIdentities(Vec<Identity>);

impl fmt::Debug for AgeIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgeIdentities({})", self.0.len())
    }
}

impl AgeIdentities {
    /// Whether a text looks like identities.
    pub fn is_like(text: &str) -> bool {
        lines(text).any(|line| line.starts_with("AGE-SECRET-KEY-"))
    }

    /// Reads the text of an identity file: one a line, `#` begins a comment.
    pub fn parse(text: &str) -> Result<Self, Error> {
        // What is wrong with a line is not said in its own words: it may be a key with a slip in it.
        let wrong = "the age identities are not lines of `AGE-SECRET-KEY-1…`, as `age-keygen` writes them; those of SSH, \
                     of plugins and with a passphrase are not taken";
        let read = |line: &str| line.parse().map_err(|_| Error::Invalid(wrong.into()));
        let identities = lines(text).map(read).collect::<Result<Vec<Identity>, _>>()?;
        if identities.is_empty() {
            return Err(Error::Invalid(wrong.into()));
        }
        Ok(Self(identities))
    }

    /// Their public keys.
    pub fn recipients(&self) -> Vec<String> {
        self.0.iter().map(|identity| identity.to_public().to_string()).collect()
    }

    /// The key in a slot; `None`: it is sealed for others.
    pub fn open(&self, slot: &ForAge) -> Result<Option<SlotKey>, Error> {
        let broken = || Error::Unsealed { what: "the slot for age identities".into() };
        let file = BASE64.decode(&slot.sealed).map_err(|_| broken())?;
        let file = Decryptor::new_buffered(file.as_slice()).map_err(|_| broken())?;
        let mut opened = match file.decrypt(self.0.iter().map(|identity| identity as &dyn age::Identity)) {
            Ok(opened) => opened.take(MAX_TEXT),
            Err(age::DecryptError::NoMatchingKeys) => return Ok(None),
            Err(_) => return Err(broken()),
        };
        let mut text = Zeroizing::new(String::with_capacity(256));
        opened.read_to_string(&mut text).map_err(|_| broken())?;
        SlotKey::from_file(&text).map(Some).map_err(|_| broken())
    }
}

/// Seals a key for these recipients (`age1…`): each of their identities opens it.
pub fn seal_for_age(key: &SlotKey, recipients: &[String]) -> Result<ForAge, Error> {
    let read = |text: &String| {
        let wrong = |_| Error::Invalid(format!("{text:?} is no recipient of age: it looks like age1…"));
        text.trim().parse::<Recipient>().map_err(wrong)
    };
    let found = recipients.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let failed =
        |error: &dyn fmt::Display| Error::Invalid(format!("the key can not be sealed for age identities: {error}"));
    let all = found.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(all).map_err(|error| failed(&error))?;
    let mut file = Vec::with_capacity(512);
    let mut writer = encryptor.wrap_output(&mut file).map_err(|error| failed(&error))?;
    writer.write_all(key.to_file().as_bytes()).map_err(|error| failed(&error))?;
    writer.finish().map_err(|error| failed(&error))?;
    Ok(ForAge { recipients: found.iter().map(ToString::to_string).collect(), sealed: BASE64.encode(file) })
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;

    use super::*;
    use crate::backend::{Host as _, System};

    /// As `age-keygen` writes it.
    fn text() -> String {
        let identity = Identity::generate();
        let secret = identity.to_string();
        format!("# created: today\n# public key: {}\n{}\n", identity.to_public(), secret.expose_secret())
    }

    fn some() -> AgeIdentities {
        AgeIdentities::parse(&text()).unwrap()
    }

    fn key() -> SlotKey {
        SlotKey::generate(&|buffer| System.random(buffer)).unwrap()
    }

    #[test]
    fn each_of_the_identities_opens_it_and_no_other_does() {
        let (key, mine, third) = (key(), some(), some());
        assert!(mine.recipients()[0].starts_with("age1"));
        let recipients = [mine.recipients(), third.recipients()].concat();
        let slot = seal_for_age(&key, &recipients).unwrap();
        assert_eq!(slot.recipients, recipients);
        for identities in [mine, third] {
            assert_eq!(identities.open(&slot).unwrap().unwrap().to_file(), key.to_file());
        }
        assert!(some().open(&slot).unwrap().is_none());
    }

    #[test]
    fn what_was_changed_does_not_open_and_what_is_no_identity_is_never_repeated() {
        let identities = some();
        let slot = seal_for_age(&key(), &identities.recipients()).unwrap();
        let mut bytes = BASE64.decode(&slot.sealed).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        for sealed in [BASE64.encode(bytes), "!".into(), BASE64.encode("age-encryption.org/v9\n")] {
            let changed = ForAge { sealed, ..slot.clone() };
            assert!(matches!(identities.open(&changed), Err(Error::Unsealed { .. })));
        }
        for text in ["", "# nothing\n", "AGE-SECRET-KEY-1PLANTED\n", "ssh-ed25519 PLANTED\n"] {
            let error = AgeIdentities::parse(text).unwrap_err().to_string();
            assert!(error.contains("age-keygen") && !error.contains("PLANTED"), "{error}");
        }
        assert!(seal_for_age(&key(), &["age1nobody".into()]).unwrap_err().to_string().contains("age1nobody"));
        assert!(seal_for_age(&key(), &[]).is_err());
        assert_eq!(format!("{identities:?}"), "AgeIdentities(1)");
        assert!(AgeIdentities::is_like(&text()) && !AgeIdentities::is_like("homelab-key/1 00 x"));
    }
}
