//! `bench`: the numbers. Run by `cargo xtask bench`.
#![expect(clippy::print_stderr, reason = "a program talks to a person")]

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(arg) = std::env::args().skip(1).find(|arg| arg != "--keep") {
        eprintln!("error: {arg} is not known; usage: bench");
        return ExitCode::from(2);
    }
    match homelab_tests::bench::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
