//! Signed tokens (JWT, RFC 7519): whether a signature is one of known keys', and until when the claims hold.
//!
//! Signatures are checked by `ring`, which the program has anyway for TLS. Only algorithms with public keys are taken: with
//! a shared secret, whoever can check can also sign.

use std::sync::Once;

use jiff::Timestamp;
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::signature;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey, Validation};
use ring::signature::{
    self as algorithms, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value};

/// Clocks differ by that much, in seconds.
const LEEWAY: i64 = 60;
/// Keys of one set, and of them those that are tried for a token that names none.
const MAX_KEYS: usize = 64;
const MAX_TOKEN: usize = 16 * 1024;

/// Claims of a token whose signature is good.
pub(super) type Claims = Map<String, Value>;

/// A public key.
#[derive(Clone)]
pub(super) struct Key {
    id: Option<String>,
    key: DecodingKey,
}

impl Key {
    /// Reads a key in PEM: RSA, EC or Ed25519.
    pub(super) fn pem(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let key = DecodingKey::from_rsa_pem(text).or_else(|_| DecodingKey::from_ec_pem(text));
        Some(Self { id: None, key: key.or_else(|_| DecodingKey::from_ed_pem(text)).ok()? })
    }

    /// Whether a token that names key `id` can be signed by this one.
    pub(super) fn is(&self, id: Option<&str>) -> bool {
        self.id.is_none() || self.id.as_deref() == id
    }

    /// Reads a set of keys (JWKS, RFC 7517). Keys of other sorts are passed by.
    pub(super) fn set(json: &[u8]) -> Option<Vec<Self>> {
        // Each key alone: one of a sort that the library does not know must not spoil the others.
        let whole: Value = serde_json::from_slice(json).ok()?;
        let keys = whole.get("keys")?.as_array()?.iter().take(MAX_KEYS).filter_map(|key| {
            let one: JwkSet = serde_json::from_value(serde_json::json!({ "keys": [key] })).ok()?;
            let jwk = one.keys.into_iter().next()?;
            let key = DecodingKey::from_jwk(&jwk).ok()?;
            let public = key.family() != AlgorithmFamily::Hmac;
            public.then_some(Self { id: jwk.common.key_id, key })
        });
        let keys: Vec<_> = keys.collect();
        (!keys.is_empty()).then_some(keys)
    }
}

/// The id of the key that a token names.
pub(super) fn key_id(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}

/// The claims of a token that one of `keys` has signed and that holds now; else why not, without quoting it.
pub(super) fn verify(token: &str, keys: &[Key], now: Timestamp) -> Result<Claims, &'static str> {
    install();
    if token.len() > MAX_TOKEN {
        return Err("the token is too long");
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| "it is no signed JWT")?;
    let family = header.alg.family();
    if family == AlgorithmFamily::Hmac {
        return Err("it is signed with a shared secret, which is not taken");
    }
    let mut rules = Validation::new(header.alg);
    // Time is an argument here, and audience and issuer are the roles'.
    (rules.validate_exp, rules.validate_nbf, rules.validate_aud) = (false, false, false);
    rules.required_spec_claims.clear();
    let fits =
        |key: &&Key| key.key.family() == family && (key.id.is_none() || header.kid.is_none() || key.id == header.kid);
    let good = keys.iter().filter(fits).find_map(|key| jsonwebtoken::decode::<Claims>(token, &key.key, &rules).ok());
    let claims = good.ok_or("no known key has signed it")?.claims;
    check_time(&claims, now.as_second())?;
    Ok(claims)
}

fn check_time(claims: &Claims, now: i64) -> Result<(), &'static str> {
    let at = |name: &str| match claims.get(name) {
        None => Ok(None),
        // NumericDate may have a fraction.
        Some(value) => {
            value.as_i64().or_else(|| Some(value.as_f64()? as i64)).map(Some).ok_or("a time in it is no number")
        }
    };
    if at("exp")?.ok_or("it never ends, which is not taken")?.saturating_add(LEEWAY) <= now {
        return Err("it has ended");
    }
    if [at("nbf")?, at("iat")?].into_iter().flatten().any(|begins| begins.saturating_sub(LEEWAY) > now) {
        return Err("it is not valid yet");
    }
    Ok(())
}

/// When a token ends; [`verify`] has seen that it does.
pub(super) fn ends(claims: &Claims) -> Option<Timestamp> {
    Timestamp::from_second(claims.get("exp")?.as_i64()?).ok()
}

/// What a claim says, as texts: one, or several in a list. Numbers and booleans as they are written.
pub(super) fn texts(claim: &Value) -> Vec<String> {
    match claim {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Number(_) | Value::Bool(_) => vec![claim.to_string()],
        Value::Object(_) | Value::Null => Vec::new(),
    }
}

/// A claim by its name, or, with a slash in front, by its place (RFC 6901): `/realm_access/roles`.
pub(super) fn claim<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    let Some(pointer) = name.strip_prefix('/') else { return claims.get(name) };
    let (first, rest) = pointer.split_once('/').map_or((pointer, None), |(first, rest)| (first, Some(rest)));
    let value = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}")))
}

/// The one that checks signatures for the library. Another one that the process has already is left in its place.
fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |_, _: &EncodingKey| -> Result<Box<dyn JwtSigner>, _> {
            Err(ErrorKind::InvalidAlgorithm.into())
        },
        verifier_factory: |algorithm, key| Ok(Box::new(Verifier { algorithm: *algorithm, key: key.clone() })),
        key_utils: KeyUtils::new_unimplemented(),
    };
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if PROVIDER.install_default().is_err() {
            tracing::debug!("signatures of JWTs are checked by another provider of this process");
        }
    });
}

struct Verifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], sealed: &Vec<u8>) -> Result<(), signature::Error> {
        let rsa = |parameters: &'static RsaParameters| match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, sealed)
            }
            DecodingKeyKind::SecretOrDer(der) => UnparsedPublicKey::new(parameters, der).verify(message, sealed),
        };
        let other = |algorithm: &'static dyn VerificationAlgorithm| match self.key.kind() {
            DecodingKeyKind::SecretOrDer(point) => UnparsedPublicKey::new(algorithm, point).verify(message, sealed),
            DecodingKeyKind::RsaModulusExponent { .. } => Err(ring::error::Unspecified),
        };
        let checked = match self.algorithm {
            Algorithm::RS256 => rsa(&algorithms::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => rsa(&algorithms::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => rsa(&algorithms::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => rsa(&algorithms::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => rsa(&algorithms::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => rsa(&algorithms::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => other(&algorithms::ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => other(&algorithms::ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDSA => other(&algorithms::ED25519),
            _ => Err(ring::error::Unspecified),
        };
        checked.map_err(|_| signature::Error::new())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;

    /// Makes tokens, as an issuer does.
    pub(in crate::server) struct Issuer {
        name: &'static str,
        ec: EcdsaKeyPair,
        ed: Ed25519KeyPair,
    }

    impl Issuer {
        pub(in crate::server) fn new() -> Self {
            Self::named("")
        }

        /// With this in front of the ids of its keys.
        pub(in crate::server) fn named(name: &'static str) -> Self {
            let random = SystemRandom::new();
            let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
            let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, ec.as_ref(), &random).unwrap();
            Self { name, ec, ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap() }
        }

        pub(in crate::server) fn keys(&self) -> Value {
            let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            let point = self.ec.public_key().as_ref();
            let id = |key: &str| format!("{}{key}", self.name);
            json!({ "keys": [
                { "kty": "EC", "crv": "P-256", "kid": id("ec"), "use": "sig", "alg": "ES256", "x": text(&point[1..33]), "y": text(&point[33..]) },
                { "kty": "OKP", "crv": "Ed25519", "kid": id("ed"), "x": text(self.ed.public_key().as_ref()) },
                { "kty": "oct", "kid": "shared", "k": "c2VjcmV0" }, { "kty": "new", "kid": "unknown" },
            ] })
        }

        pub(in crate::server) fn token(&self, algorithm: &str, claims: &Value) -> String {
            let id = format!("{}{}", self.name, if algorithm == "EdDSA" { "ed" } else { "ec" });
            let header = json!({ "alg": algorithm, "typ": "JWT", "kid": id });
            let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let message = format!("{}.{}", text(&header), text(claims));
            let sealed = match algorithm {
                "EdDSA" => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
                _ => self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
            };
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(sealed))
        }
    }

    #[test]
    fn only_what_a_known_key_has_signed_and_holds_now_passes() {
        let (issuer, other) = (Issuer::new(), Issuer::new());
        let keys = Key::set(issuer.keys().to_string().as_bytes()).unwrap();
        assert_eq!(keys.len(), 2, "shared secrets and unknown sorts are passed by");
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let claims = json!({ "sub": "anna", "exp": 1_800_000_100, "iat": 1_800_000_030 });
        for algorithm in ["ES256", "EdDSA"] {
            assert_eq!(verify(&issuer.token(algorithm, &claims), &keys, now).unwrap()["sub"], "anna");
            assert_eq!(verify(&other.token(algorithm, &claims), &keys, now), Err("no known key has signed it"));
        }
        let why = |claims: Value| verify(&issuer.token("ES256", &claims), &keys, now).unwrap_err();
        assert_eq!(why(json!({ "sub": "x" })), "it never ends, which is not taken");
        assert_eq!(why(json!({ "exp": 1_799_999_940 })), "it has ended");
        assert_eq!(why(json!({ "exp": 1_800_000_100, "nbf": 1_800_000_061 })), "it is not valid yet");
        assert_eq!(why(json!({ "exp": "soon" })), "a time in it is no number");
        let token = issuer.token("ES256", &claims);
        let parts: Vec<_> = token.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let shared = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"shared"}"#);
        let changed = URL_SAFE_NO_PAD.encode(r#"{"sub":"root","exp":1800000100}"#);
        for forged in [
            format!("{none}.{}.", parts[1]),
            format!("{shared}.{}.{}", parts[1], parts[2]),
            format!("{}.{changed}.{}", parts[0], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            "a.b.c".into(),
            String::new(),
        ] {
            assert!(verify(&forged, &keys, now).is_err(), "{forged}");
        }
        assert!(Key::set(b"{}").is_none() && Key::pem("nonsense").is_none());
    }

    #[test]
    fn claims_are_found_by_name_and_by_place() {
        let claims = json!({ "groups": ["a", "b"], "realm": { "roles": ["c"] }, "a/b": "d", "n": 3, "o": {} });
        let claims = claims.as_object().unwrap();
        let said = |name: &str| claim(claims, name).map(texts);
        assert_eq!(said("groups"), Some(vec!["a".into(), "b".into()]));
        assert_eq!(
            (said("/realm/roles"), said("/a~1b"), said("n")),
            (Some(vec!["c".into()]), Some(vec!["d".into()]), Some(vec!["3".into()]))
        );
        assert_eq!((said("/realm/none"), said("none"), said("o")), (None, None, Some(vec![])));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_calmly(token in "([A-Za-z0-9_-]{0,12}\\.){0,3}\\PC{0,12}", keys in "\\PC{0,40}") {
            let now = Timestamp::from_second(1_800_000_000).unwrap();
            prop_assert!(verify(&token, &Key::set(keys.as_bytes()).unwrap_or_default(), now).is_err());
        }
    }
}
