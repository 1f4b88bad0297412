//! `bench`: the numbers. Run by `cargo xtask bench`.
#![expect(clippy::print_stderr, reason = "a program talks to a person")]

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--keep").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => homelab_tests::bench::run().await,
        ["inject"] => homelab_tests::bench::inject::run().await,
        ["secrets"] => homelab_tests::bench::secrets::run(false).await,
        ["secrets", "--quick"] | ["--quick", "secrets"] => homelab_tests::bench::secrets::run(true).await,
        _ => {
            eprintln!("error: {} is not known; usage: bench [inject | secrets [--quick]]", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
