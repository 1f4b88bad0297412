//! The program `homelab`.

use std::process::ExitCode;

use clap::Parser as _;
use homelab_bin::args::Args;

fn main() -> ExitCode {
    homelab_bin::install_crypto();
    match Args::try_parse() {
        Ok(args) => homelab_bin::run(args),
        Err(error) => {
            // Help and version are data (stdout, 0); a wrong flag is an error like every other (stderr, 1, as kubectl).
            let code = if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            let _ = error.print();
            code
        }
    }
}
