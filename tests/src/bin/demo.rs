//! `demo [--keep] [--shared]`: the main job, end to end. Run by `cargo xtask demo`.
#![expect(clippy::print_stderr, reason = "a program talks to a person")]

use std::process::ExitCode;

use homelab_tests::demo::{Options, run};

#[tokio::main]
async fn main() -> ExitCode {
    let mut options = Options::default();
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--keep" => options.keep = true,
            "--shared" => options.shared = true,
            other => {
                eprintln!("error: {other} is not known; usage: demo [--keep] [--shared]");
                return ExitCode::from(2);
            }
        }
    }
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
