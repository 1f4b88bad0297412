//! The program `homelab` as a process: what people type, and the server that answers it.
#![expect(clippy::disallowed_methods, reason = "tests run programs in folders of their own")]

mod away;
mod backup;
mod badinput;
mod completions;
mod edit;
mod full;
mod process;
mod slow;
mod transfer;
