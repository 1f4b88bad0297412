//! Durations as Vault writes them: Go's `3h25m19s`, or a bare number of seconds.

use jiff::SignedDuration;

/// Reads `3h25m19s`, `90s`, `1.5h`, `0` or a number of seconds. Nothing below a millisecond.
pub fn parse(text: &str) -> Option<SignedDuration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return (seconds >= 0).then(|| SignedDuration::from_secs(seconds));
    }
    let mut rest = text;
    let mut millis = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        millis += number
            * match &rest[..unit] {
                "ms" => 1.0,
                "s" => 1e3,
                "m" => 60e3,
                "h" => 3600e3,
                "d" => 86_400e3,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    // 2^53: beyond it f64 skips whole milliseconds.
    (millis.is_finite() && millis < 9e15).then(|| SignedDuration::from_millis(millis.round() as i64))
}

/// Writes as Go does: `0s`, `1h0m0s`, `2m30s`, `1.5s`.
pub fn format(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut rest = (seconds % 60).to_string();
    if duration.subsec_millis() != 0 {
        rest = format!("{rest}.{:03}", duration.subsec_millis()).trim_end_matches('0').to_owned();
    }
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_as_in_go() {
        for (text, written) in [
            ("0", "0s"),
            ("0s", "0s"),
            ("90", "1m30s"),
            ("3h25m19s", "3h25m19s"),
            ("1.5s", "1.5s"),
            ("720h", "720h0m0s"),
            ("2d", "48h0m0s"),
        ] {
            assert_eq!(parse(text).map(format).as_deref(), Some(written), "{text}");
        }
        for wrong in ["", "h", "5x", "-5", "1h2", "1e400s", "NaNs"] {
            assert_eq!(parse(wrong).filter(|_| !wrong.is_empty()), None, "{wrong}");
        }
    }
}
