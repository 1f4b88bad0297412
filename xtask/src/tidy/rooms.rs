//! Where the line between pure code and the outside world stands.

use super::File;

/// Lifts the ban on calls that reach outside; `clippy.toml` lists them.
const LIFT: &str = concat!("clippy::disallowed", "_methods");
/// Modules of the libraries that may reach outside.
const SHELL: [&str; 5] = ["backend", "execute", "controller", "server", "testing"];
/// Those of homelab-core, which is the libraries' shell where it is not pure.
const CORE: [&str; 6] = ["process", "client", "apply", "watch", "lease", "events"];

/// Findings of one file.
pub(super) fn check(file: &File) -> Vec<String> {
    if !file.is_rust() || file.is_test() || allowed(&file.path) {
        return Vec::new();
    }
    let lifted =
        file.code().into_iter().enumerate().filter(|(_, l)| l.contains(LIFT) && !l.trim_start().starts_with("//"));
    lifted
        .map(|(n, _)| {
            format!(
                "{}:{}: client, clock, file, environment, randomness and processes are used only in {}; take them as arguments here",
                file.path,
                n + 1,
                SHELL.join(", ")
            )
        })
        .collect()
}

fn allowed(path: &str) -> bool {
    let Some((package, module)) = path.split_once("/src/") else { return true };
    if !package.starts_with("homelab-") || package.starts_with("homelab-bin") {
        return true;
    }
    let mut parts = module.trim_end_matches(".rs").split('/');
    let core = package == "homelab-core";
    parts.any(|part| SHELL.contains(&part) || (core && CORE.contains(&part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> bool {
        !check(&File { path: path.to_owned(), text: format!("#![expect({LIFT}, reason = \"…\")]") }).is_empty()
    }

    #[test]
    fn shells_may_and_plans_may_not() {
        assert!(found("homelab-rollout/src/plan.rs"));
        assert!(found("homelab-secrets/src/process.rs"), "that name is free in homelab-core only");
        assert!(!found("homelab-rollout/src/backend/helm.rs"));
        assert!(!found("homelab-rollout/src/controller.rs"));
        assert!(!found("homelab-core/src/process.rs"));
        assert!(!found("homelab-bin/src/main.rs") && !found("xtask/src/main.rs"));
    }
}
