//! Where words go: data to stdout as a table, JSON or YAML; everything else to stderr; colour only on a terminal.
#![expect(clippy::print_stderr, reason = "this module is the one that talks to people")]
#![expect(clippy::disallowed_methods, reason = "NO_COLOR is a convention of the environment")]

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::args::Format;

/// Prints `value` for a program.
pub fn data<T: Serialize>(value: &T, format: Format) -> Result<()> {
    bytes(rendered(value, format)?.as_bytes())
}

/// `value` as text for a program.
pub fn rendered<T: Serialize>(value: &T, format: Format) -> Result<String> {
    let mut text = match format {
        Format::Json => serde_json::to_string_pretty(value).context("write JSON")?,
        Format::Yaml => serde_saphyr::to_string(value).context("write YAML")?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Prints bytes as they are.
pub fn bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

/// Prints one line of data.
pub fn line(text: &str) -> Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Says something to the person; no data.
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// Says what failed: the first line what was attempted, then the causes.
pub fn error(error: &anyhow::Error) {
    let label = if colour(&io::stderr()) { "\u{1b}[31merror:\u{1b}[0m" } else { "error:" };
    eprintln!("{label} {}", chain(error));
}

/// A reader that went away (`homelab … | head`) is no failure.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether stdout is read by a person.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// An error and its causes on one line, each said once (some errors repeat their source in their own words).
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn colour(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A word for a state, coloured on a terminal.
pub fn state(text: &str, good: Option<bool>) -> String {
    if !colour(&io::stdout()) {
        return text.to_owned();
    }
    let code = match good {
        Some(true) => 32,
        Some(false) => 31,
        None => 33,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// A table as kubectl prints it: upper-case heads, three blanks between columns, no lines.
pub struct Table {
    table: comfy_table::Table,
    rows: usize,
}

impl Table {
    /// A table with these heads.
    pub fn new<'a>(heads: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_preset(comfy_table::presets::NOTHING)
            .set_content_arrangement(comfy_table::ContentArrangement::Disabled);
        table.set_header(heads);
        Self { table, rows: 0 }
    }

    /// Adds a row.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.table.add_row(cells.into_iter().map(|cell| comfy_table::Cell::new(cell.into())));
        self.rows += 1;
    }

    /// Prints it; when it has no row, says `nothing` to the person instead.
    pub fn print(&self, nothing: &str) -> Result<()> {
        if self.rows == 0 {
            note(nothing);
            return Ok(());
        }
        bytes(self.to_string().as_bytes())
    }

    /// It as text, empty when it has no row.
    pub fn text(&self) -> String {
        if self.rows == 0 { String::new() } else { self.to_string() }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in self.table.to_string().lines() {
            writeln!(f, "{}", line.strip_prefix(' ').unwrap_or(line).trim_end())?;
        }
        Ok(())
    }
}

/// How many there are of what `word` calls one.
pub fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// A time as kubectl prints ages: `45s`, `12m`, `3h`, `5d`.
pub fn age(since: jiff::Timestamp, now: jiff::Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_no_lines_and_no_trailing_blanks() {
        let mut table = Table::new(["NAME", "READY"]);
        table.row(["web", "True"]);
        table.row(["database", "False"]);
        insta::assert_snapshot!(table.to_string(), @r"
        NAME      READY
        web       True
        database  False
        ");
    }

    #[test]
    fn causes_are_said_once() {
        let error = anyhow::anyhow!("connection refused").context("read web/db: connection refused").context("kv get");
        assert_eq!(chain(&error), "kv get: read web/db: connection refused");
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!(
            [count(0, "secret"), count(1, "secret"), count(2, "secret")],
            ["0 secrets", "1 secret", "2 secrets"]
        );
    }

    #[test]
    fn ages() {
        let now: jiff::Timestamp = "2026-11-23T12:00:00Z".parse().expect("a time");
        let at = |text: &str| age(text.parse().expect("a time"), now);
        assert_eq!(at("2026-11-23T11:59:15Z"), "45s");
        assert_eq!(at("2026-11-23T11:48:00Z"), "12m");
        assert_eq!(at("2026-11-23T09:00:00Z"), "3h");
        assert_eq!(at("2026-11-18T12:00:00Z"), "5d");
        assert_eq!(at("2026-11-23T12:00:05Z"), "0s");
    }
}
