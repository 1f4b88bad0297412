//! How forges sign a hook. Comparisons take the same time whatever differs.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What a hook says to prove that it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// HMAC-SHA256 of the body (Forgejo, Gitea, GitHub).
    Hmac(Vec<u8>),
    /// The key itself (GitLab).
    Token(Vec<u8>),
}

/// Forgejo and Gitea send GitHub's headers, too, so their own are looked at first.
pub(super) fn claim(headers: &HeaderMap) -> Option<Claim> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    for name in ["x-forgejo-signature", "x-gitea-signature"] {
        if let Some(signature) = text(name) {
            return hex(signature).map(Claim::Hmac);
        }
    }
    if let Some(signature) = text("x-hub-signature-256") {
        return signature.strip_prefix("sha256=").and_then(hex).map(Claim::Hmac);
    }
    text("x-gitlab-token").map(|token| Claim::Token(token.as_bytes().to_vec()))
}

impl Claim {
    /// Whether it was made with `key`.
    pub(super) fn holds(&self, key: &[u8], body: &[u8]) -> bool {
        if key.is_empty() {
            return false;
        }
        match self {
            Self::Hmac(signature) => {
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
                mac.update(body);
                mac.verify_slice(signature).is_ok()
            }
            // Digests have one length, so the comparison does not tell that of the key.
            Self::Token(token) => Sha256::digest(token).ct_eq(&Sha256::digest(key)).into(),
        }
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
