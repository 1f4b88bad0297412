//! Who did what: records in a chain that nobody without the key can change, cut or reorder unseen. Pure.
//!
//! A record is one line of JSON. Its place in the chain is its last member:
//!
//! ```text
//! mac(n) = HMAC-SHA-256(chain key, mac(n-1) ‖ bytes of line n before `,"mac":"`)
//! ```
//!
//! so the bytes themselves are proved, and no form of JSON has to be agreed on. A file begins with a record that carries
//! the number and the MAC of the record before it, so that older files can be dropped and the rest still be checked.
//!
//! Paths and names of keys stand in clear; values never do: [`digests`] puts a keyed digest in the place of each, so that
//! it can be proved later that two were equal, or that one was a given text. Tokens are not recorded at all.
//!
//! ```
//! use homelab_secrets::audit::{AuditKey, Entry, Event, Expectations, Line, Position, verify};
//!
//! let key = AuditKey::new(&[7; 32])?;
//! let (mut end, mut text) = (Position::default(), Vec::new());
//! for event in [Event::first_file(&key), Event::Started { version: "1.0.0" }] {
//!     end.append(&key, jiff::Timestamp::UNIX_EPOCH, &Entry::new(&event)?, &mut text);
//! }
//! let report = verify(Line::all("audit.log", &text), &key, &Expectations::default());
//! assert!(report.is_clean() && report.records == 2);
//! # Ok::<(), homelab_secrets::Error>(())
//! ```

mod access;
mod anchor;
mod chain;
mod entry;
mod key;
mod values;
mod verify;

pub use access::{Access, Durability, Mode, Operation, durability, error_class, shown_path, shown_query};
pub use anchor::Anchor;
pub use chain::{ChainMac, Line, Position};
pub use entry::{Entry, Event, Previous};
pub use key::AuditKey;
pub use values::digests;
pub use verify::{Expectations, Finding, Problem, Report, Verifier, verify};

/// Version of the records that this program writes and reads.
pub const FORMAT: &str = "homelab.audit/1";
/// Longest line that is written or read, in bytes.
pub const MAX_LINE: usize = 64 * 1024;

#[cfg(test)]
mod tests;
