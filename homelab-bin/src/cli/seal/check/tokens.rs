//! What tokens look like. Pure.

/// Beginnings that services give their tokens, how many letters and digits follow at least, and what it is.
const TOKENS: [(&str, usize, &str); 16] = [
    ("AKIA", 16, "an AWS access key"),
    ("ghp_", 36, "a GitHub token"),
    ("gho_", 36, "a GitHub token"),
    ("ghs_", 36, "a GitHub token"),
    ("github_pat_", 40, "a GitHub token"),
    ("glpat-", 20, "a GitLab token"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("sk_live_", 20, "a Stripe key"),
    ("npm_", 36, "an npm token"),
    ("dckr_pat_", 20, "a Docker token"),
    ("hvs.", 24, "a Vault token"),
    ("hls.", 24, "a token of homelab"),
    ("AGE-SECRET-KEY-1", 50, "an age identity"),
    ("homelab-key/1 ", 32, "a key file of homelab"),
    ("SG.", 40, "a SendGrid key"),
];
/// Parts of names whose values are secret.
const WORDS: [&str; 8] = ["password", "passwd", "secret", "token", "apikey", "api_key", "api-key", "private_key"];
/// Ends of names that only point at one.
const POINTERS: [&str; 10] = ["name", "ref", "path", "file", "namespace", "url", "type", "id", "class", "version"];
/// Shorter ones are not told from words.
const SHORTEST: usize = 16;
/// Bits for each character; random letters and digits have about 4 and more at this length, words about 3.
const ENTROPY: f64 = 3.4;

/// What kind of token a line holds.
pub(super) fn known(line: &str) -> Option<&'static str> {
    if line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    TOKENS.iter().find_map(|(start, least, what)| {
        let hit = line.match_indices(start).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let alone = before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
            alone && line[at + start.len()..].chars().take_while(|c| fits(*c)).count() >= *least
        });
        hit.then_some(*what)
    })
}

/// The name in `NAME: VALUE` or `NAME = VALUE` when it promises a secret and the value looks random.
pub(super) fn guess(line: &str) -> Option<&str> {
    let (name, value) = line.split_once([':', '='])?;
    let name = name.trim().trim_start_matches("export ").trim_matches(['"', '\'', '-', ' ']);
    let low = name.to_ascii_lowercase();
    let promises = WORDS.iter().any(|word| low.contains(word)) && !POINTERS.iter().any(|end| low.ends_with(end));
    let value = value.trim().trim_end_matches(',').trim_matches(['"', '\'']);
    let one_word = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || "${}<>()[]*".contains(c));
    let mixed = value.contains(|c: char| c.is_ascii_digit()) && value.contains(|c: char| c.is_ascii_alphabetic());
    (promises && one_word && mixed && value.len() >= SHORTEST && entropy(value) >= ENTROPY).then_some(name)
}

/// Shannon's, in bits for each character.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let all = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / all).map(|p| -p * p.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_by_how_they_begin() {
        // Put together here, so that this file is not found itself.
        let long = "a1B2c3D4e5F6g7H8i9J0".repeat(3);
        for (start, _, what) in TOKENS {
            assert_eq!(known(&format!("x = \"{start}{long}\"")), Some(what), "{start}");
            assert_eq!(known(&format!("x = \"{start}short\"")), None, "{start}");
            assert_eq!(known(&format!("x = \"word{start}{long}\"")), None, "{start} inside a word");
        }
        assert_eq!(known(&["-----BEGIN RSA", "PRIVATE KEY-----"].join(" ")), Some("a private key"));
        assert_eq!(known("-----BEGIN CERTIFICATE-----"), None);
    }

    #[test]
    fn values_are_guessed_by_name_and_look() {
        let random = ["xK9f2Lq8", "Zr4Tn6Wb"].concat();
        for line in [
            format!("password: {random}"),
            format!("  dbPassword: \"{random}\""),
            format!("export API_KEY={random}"),
            format!("\"client_secret\": \"{random}\","),
        ] {
            assert!(guess(&line).is_some(), "{line}");
        }
        for line in [
            format!("image: {random}"),
            format!("secretName: {random}"),
            format!("password: ${{{random}}}"),
            "password: correct-horse-battery-staple".into(),
            "password: changeme1".into(),
            "passwordSecretRef: web-db-12345678901234".into(),
            "token: kv/web/db some words 1234567890".into(),
        ] {
            assert_eq!(guess(&line), None, "{line}");
        }
    }
}
