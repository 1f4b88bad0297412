//! What helm's complaints mean.

use homelab_core::class::Class;

use crate::error::Error;

/// Parts of complaints and what they ask of us, first match wins. Everything else may pass by itself.
const MEANINGS: &[(&[&str], Class)] = &[
    (&["another operation", "already exists", "conflict occurred", "Apply failed with"], Class::Conflict),
    (&["is forbidden", "Unauthorized", "cannot impersonate"], Class::Denied),
    (
        &[
            "unreachable",
            "connection refused",
            "i/o timeout",
            "TLS handshake timeout",
            "context deadline exceeded",
            "etcdserver",
            "ServiceUnavailable",
            "InternalError",
            "the server is currently unable",
        ],
        Class::Retry,
    ),
    (
        &[
            "parse error",
            "execution error",
            "error calling",
            "YAML parse error",
            "error parsing",
            "error converting YAML",
            "unknown field",
            "don't meet the specifications",
            "no matches for kind",
            "missing in charts/",
            "is invalid",
            "Invalid value",
            "post render",
            "nil pointer evaluating",
            "field is immutable",
            "validation",
            "Chart.yaml",
            "hook",
            "unable to build kubernetes objects",
            "cannot be imported",
            "can't evaluate",
            "incompatible with Kubernetes",
        ],
        Class::Invalid,
    ),
];

/// The failure of `action` by what helm wrote to stderr.
pub(super) fn failed(action: String, stderr: &str) -> Error {
    let class =
        MEANINGS.iter().find(|(parts, _)| parts.iter().any(|p| stderr.contains(p))).map_or(Class::Retry, |(_, c)| *c);
    let message = complaint(stderr);
    match class {
        Class::Conflict => Error::Conflict { object: action, message: format!("failed: {message}") },
        class => Error::Api { action, message, class },
    }
}

/// One line: what follows `Error:`, without log lines, advice and progress.
fn complaint(stderr: &str) -> String {
    let start = stderr.rfind("Error: ").map_or(0, |at| at + "Error: ".len());
    let lines = stderr[start..].lines().map(str::trim);
    let wanted = lines.filter(|l| !l.is_empty() && !l.starts_with("level=") && !l.starts_with("Use --debug flag"));
    let text = wanted.collect::<Vec<_>>().join(" ");
    let text =
        text.strip_prefix("UPGRADE FAILED: ").or_else(|| text.strip_prefix("INSTALLATION FAILED: ")).unwrap_or(&text);
    if text.is_empty() { "helm said nothing".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_get_a_class_and_one_line() {
        let said = |stderr: &str| {
            let error = failed("helm upgrade web".into(), stderr);
            format!("{:?} {error}", error.class())
        };
        assert_eq!(
            said(
                "level=WARN msg=x\nError: UPGRADE FAILED: parse error at (demo/templates/a.yaml:3): unclosed action\n"
            ),
            "Invalid helm upgrade web: parse error at (demo/templates/a.yaml:3): unclosed action"
        );
        assert_eq!(
            said("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress"),
            "Conflict helm upgrade web failed: another operation (install/upgrade/rollback) is in progress"
        );
        assert_eq!(
            said("Error: query: failed to query with labels: secrets is forbidden: User \"x\" cannot list"),
            "Denied helm upgrade web: query: failed to query with labels: secrets is forbidden: User \"x\" cannot list"
        );
        assert_eq!(
            said("Error: Kubernetes cluster unreachable: EOF"),
            "Retry helm upgrade web: Kubernetes cluster unreachable: EOF"
        );
        assert_eq!(said(""), "Retry helm upgrade web: helm said nothing");
    }
}
