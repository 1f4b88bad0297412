use clap::Parser as _;

use super::*;
use crate::args::{Args, Command};

fn checked(flags: &[&str]) -> Result<(), String> {
    let args = Args::try_parse_from(["homelab", "server"].iter().chain(flags)).map_err(|e| e.to_string())?;
    let Command::Server(args) = args.command else { unreachable!("it is the server") };
    check(&args).map_err(|e| e.to_string())
}

#[test]
fn plain_http_stays_on_this_machine() {
    assert_eq!(checked(&["--dev"]), Ok(()));
    assert_eq!(checked(&["--no-tls", "--listen", "[::1]:8200"]), Ok(()));
    assert_eq!(checked(&["--listen", "0.0.0.0:8200"]), Ok(()));
    insta::assert_snapshot!(checked(&["--dev", "--listen", "0.0.0.0:8200"]).expect_err("open"), @"--dev serves plain HTTP and keeps nothing: it listens on a loopback address only, not on 0.0.0.0:8200");
    insta::assert_snapshot!(checked(&["--no-tls", "--listen", "10.0.0.1:8200"]).expect_err("open"), @"--no-tls would send secrets in clear to 10.0.0.1:8200: leave it out, or listen on a loopback address");
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    assert!(checked(&["--root-token", "t"]).expect_err("no --dev").contains("--dev"));
    assert!(checked(&["--tls-cert", "a.pem"]).expect_err("no key").contains("--tls-key"));
    assert!(checked(&["--trusted-proxies", "home"]).expect_err("no block").contains("10.0.0.0/8"));
}
