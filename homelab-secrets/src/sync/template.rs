//! Text with `${NAME.KEY}` in it. Nothing is computed: what comes out is as long as what goes in, and an error can name
//! only what the text itself says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::MAX_SECRET;
use super::values::Text;

/// The text with each placeholder replaced by what `find` gives for NAME and KEY; an error says which one and why.
pub(super) fn render<'a>(
    text: &str,
    find: impl Fn(&str, &str) -> Result<&'a Text, String>,
) -> Result<Zeroizing<String>, String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            push(&mut out, before)?;
            push(&mut out, "${")?;
            rest = &rest[at + 2..];
            continue;
        }
        push(&mut out, &rest[..at])?;
        let line = || text[..text.len() - rest.len() + at].matches('\n').count() + 1;
        let inner = &rest[at + 2..];
        let end = inner.find(['}', '\n']).filter(|end| inner[*end..].starts_with('}'));
        let end = end.ok_or_else(|| format!("line {}: a ${{ without its }}; write $${{ for the two signs", line()))?;
        let placeholder = &inner[..end];
        let value = replace(placeholder, &find).map_err(|why| format!("line {}: ${{{placeholder}}} {why}", line()))?;
        push(&mut out, &value)?;
        rest = &inner[end + 1..];
    }
    push(&mut out, rest)?;
    Ok(out)
}

fn replace<'a>(
    placeholder: &str,
    find: &impl Fn(&str, &str) -> Result<&'a Text, String>,
) -> Result<Zeroizing<String>, String> {
    let (place, encoding) = match placeholder.split_once('|') {
        Some((place, encoding)) => (place.trim(), Some(encoding.trim())),
        None => (placeholder.trim(), None),
    };
    let (name, key) = place
        .split_once('.')
        .filter(|(name, key)| !name.is_empty() && !key.is_empty())
        .ok_or("is not NAME.KEY, as in ${db.password}; write $${ for the two signs")?;
    let value = find(name, key)?;
    match encoding {
        None => Ok(value.plain.clone()),
        Some("base64") => Ok(Zeroizing::new(STANDARD.encode(value.plain.as_bytes()))),
        Some("url") => Ok(percent(&value.plain)),
        Some("json") => Ok(value.json()),
        Some(_) => Err("has an encoding that is neither base64 nor url nor json".into()),
    }
}

/// Percent encoding of everything but the unreserved characters of RFC 3986, 2.3: fit for any part of a URL.
fn percent(text: &str) -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 3));
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

fn push(out: &mut Zeroizing<String>, part: &str) -> Result<(), String> {
    let room = out.len() + part.len();
    if room > MAX_SECRET {
        return Err(format!("it becomes larger than {MAX_SECRET} bytes, which no Secret can hold"));
    }
    if room > out.capacity() {
        // Grows by hand, so that the shorter copy is wiped and not left behind.
        let mut longer = Zeroizing::new(String::with_capacity((room * 2).min(MAX_SECRET)));
        longer.push_str(out);
        *out = longer;
    }
    out.push_str(part);
    Ok(())
}
