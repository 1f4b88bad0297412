//! `-w`: print, and print again whenever it would read differently.

use std::time::Duration;

use anyhow::Result;

use super::output;

const POLL: Duration = Duration::from_secs(1);

/// Prints what `render` gives; with `again`, for ever, each time that it changed.
pub(crate) async fn watch(again: bool, render: impl AsyncFn() -> Result<String>) -> Result<()> {
    let mut last = render().await?;
    output::bytes(last.as_bytes())?;
    if !again {
        return Ok(());
    }
    loop {
        tokio::time::sleep(POLL).await;
        let now = render().await?;
        if without_ages(&now) != without_ages(&last) {
            output::bytes(format!("\n{now}").as_bytes())?;
        }
        last = now;
    }
}

/// The text without words that change by themselves, as in `45s`.
fn without_ages(text: &str) -> String {
    let is_age = |word: &&str| {
        let (number, unit) = word.split_at(word.len().saturating_sub(1));
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && ["s", "m", "h", "d"].contains(&unit)
    };
    text.lines()
        .map(|line| line.split_whitespace().filter(|w| !is_age(w)).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_no_change() {
        assert_eq!(without_ages("web   True  45s  ok"), without_ages("web  True   46s  ok"));
        assert_ne!(without_ages("web True 45s"), without_ages("web False 45s"));
    }
}
