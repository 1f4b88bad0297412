//! The sidecar of a pod outside Apps: looks again and again whether there are newer versions, and writes them in place.
//!
//! Files only: a variable of a process can not change. What can not be read stays as it is, which is said once a change of
//! the trouble; the pod's own containers never notice.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::Duration;

use signal_hook::consts::SIGTERM;
use signal_hook::flag::register_conditional_shutdown;

use crate::failure::Failure;
use crate::server::Server;
use crate::wish::{Secret, Wish};
use crate::{files, places, say, setting};

/// `every` seconds, until the kubelet ends it.
pub(crate) fn run(every: &str) -> Result<(), Failure> {
    // The first process of a container ignores every signal that it does not ask for: the pod would take its grace period
    // to end.
    register_conditional_shutdown(SIGTERM, 0, Arc::new(AtomicBool::new(true)))
        .map_err(|error| Failure::fixed(format!("SIGTERM can not be caught: {error}")))?;
    let every = every.parse().map(Duration::from_secs).ok().filter(|every| !every.is_zero());
    let every = every.ok_or_else(|| Failure::fixed("HOMELAB_REFRESH is no number of seconds"))?;
    let mut wish = Wish::parse(&setting("HOMELAB_SECRETS")?)?;
    let (root, token) = places();
    let mut server = Server::new(&setting("HOMELAB_ADDR")?, &setting("HOMELAB_CA")?)?;
    let mut told = String::new();
    loop {
        sleep(every);
        let trouble = match look(&mut server, &mut wish, token.as_ref(), root.as_ref()) {
            Ok(()) => String::new(),
            Err(failure) => format!("what is there stays as it is: {failure}"),
        };
        if !trouble.is_empty() && trouble != told {
            say(&trouble);
        }
        told = trouble;
    }
}

/// Each secret for itself: the first trouble is told, and keeps no other from being looked at.
fn look(server: &mut Server, wish: &mut Wish, token: &Path, root: &Path) -> Result<(), Failure> {
    let mode = wish.mode;
    let mut trouble = Ok(());
    for secret in &mut wish.secrets {
        if let Err(failure) = one(server, secret, (token, root), mode)
            && trouble.is_ok()
        {
            trouble = Err(failure);
        }
    }
    trouble
}

fn one(server: &mut Server, secret: &mut Secret, (token, root): (&Path, &Path), mode: u32) -> Result<(), Failure> {
    server.log_in_with(token)?;
    let answer = server.newest(&secret.path)?;
    let version = answer.version(secret)?;
    if version <= secret.version {
        return Ok(());
    }
    let before = std::mem::replace(&mut secret.version, version);
    let written = answer.open(secret).and_then(|values| {
        files::write(root, mode, secret, &values)?;
        files::keep(root, secret, &values)
    });
    match written {
        Ok(()) => say(&format!("{}@{version} is in its files, in the place of @{before}", secret.path)),
        Err(_) => secret.version = before,
    }
    written
}
