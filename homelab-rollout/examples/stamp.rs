//! The smallest post-renderer: the stamp without an injector. What `homelab stamp` is in the real program.
#![expect(clippy::disallowed_methods, reason = "a program has files, an environment and streams")]

use std::io::{Read as _, Write as _};

use homelab_rollout::ports::{InjectedSecret, PodInjector, PortError};
use homelab_rollout::stamp::{StampInput, run};

/// Leaves pods as they are: the annotation with the versions is the stamp's own.
struct Nothing;

impl PodInjector for Nothing {
    fn inject(&self, _: &mut serde_json::Value, _: &[InjectedSecret]) -> Result<(), PortError> {
        Ok(())
    }
}

fn stamped(path: &std::path::Path) -> Result<String, String> {
    let input = std::fs::read(path).map_err(|e| e.to_string())?;
    let input = StampInput::read(&input).map_err(|e| e.to_string())?;
    let mut yaml = String::new();
    std::io::stdin().read_to_string(&mut yaml).map_err(|e| e.to_string())?;
    run(&yaml, &input, &Nothing).map_err(|e| e.to_string())
}

fn main() -> std::process::ExitCode {
    let Some(path) = std::env::var_os("HOMELAB_STAMP").map(std::path::PathBuf::from) else {
        return std::process::ExitCode::from(2);
    };
    match stamped(&path).and_then(|yaml| std::io::stdout().write_all(yaml.as_bytes()).map_err(|e| e.to_string())) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            // Helm swallows what a plugin writes to stderr.
            let mut beside = path.into_os_string();
            beside.push(".error");
            let _ = std::fs::write(beside, message);
            std::process::ExitCode::FAILURE
        }
    }
}
