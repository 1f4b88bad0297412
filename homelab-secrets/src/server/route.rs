//! Paths of the API: which there are, and which are refused before anybody looks at them. Pure.

use crate::policy::kv_paths::Verb;

/// Longest path below `/v1/`, as it is sent.
const MAX_PATH: usize = 2048;

/// Kinds of login, each under `auth/` by its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum AuthKind {
    Token,
    Kubernetes,
    Jwt,
    AppRole,
}

impl AuthKind {
    pub(super) const ALL: [Self; 4] = [Self::Token, Self::Kubernetes, Self::Jwt, Self::AppRole];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Kubernetes => "kubernetes",
            Self::Jwt => "jwt",
            Self::AppRole => "approle",
        }
    }
}

/// What a path is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Health,
    SealStatus,
    Leader,
    Init,
    Unseal,
    Seal,
    Mounts,
    Mount(&'a str),
    MountTune(&'a str),
    AuthMounts,
    AuthMount(&'a str),
    AuthTune(&'a str),
    /// All policies; by the old path the answer has other names in it.
    Policies {
        old: bool,
    },
    Policy {
        name: &'a str,
        old: bool,
    },
    Capabilities,
    CapabilitiesSelf,
    CapabilitiesAccessor,
    UiMounts,
    UiMount(&'a str),
    /// Sealed files in Git: `REPOSITORY`, `REPOSITORY/VERB/PATH`.
    Git(&'a str),
    /// Versions of secrets, for a daemon that runs elsewhere.
    Versions(&'a str),
    Rotate,
    KeyStatus,
    /// Keys of the store: `slots/ID`, `rotate-root`.
    Keys(&'a str),
    AcceptRollback,
    /// The whole store, as it is sealed.
    Backup,
    /// Who may do what, and why.
    PolicyTest,
    /// Nothing that is served, below `sys/` or `auth/KIND/`.
    Unsupported,
    Auth(AuthKind, &'a str),
    /// KV v2; the path is empty for the mount's own folder.
    Kv {
        mount: &'a str,
        verb: Verb,
        path: &'a str,
    },
    KvConfig(&'a str),
    /// Below a mount, if there is one, but no path of KV v2.
    Other(&'a str),
}

impl Route<'_> {
    /// Whether it is answered without a token.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Health | Self::SealStatus | Self::Leader | Self::Init | Self::Unseal)
            || matches!(self, Self::Auth(AuthKind::Kubernetes | AuthKind::Jwt | AuthKind::AppRole, "login"))
    }

    /// Whether it is answered while the store is sealed.
    pub(super) fn is_early(self) -> bool {
        matches!(self, Self::Health | Self::SealStatus | Self::Leader | Self::Init | Self::Unseal)
    }
}

/// Reads a clean path (see [`clean`]), without a slash at its end.
pub(super) fn route(path: &str) -> Route<'_> {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match first {
        "sys" => sys(rest),
        "auth" => {
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            AuthKind::parse(name).map_or(Route::Other("auth"), |kind| Route::Auth(kind, rest))
        }
        mount => {
            let (verb, path) = rest.split_once('/').unwrap_or((rest, ""));
            match (verb, Verb::parse(verb)) {
                ("config", _) if path.is_empty() => Route::KvConfig(mount),
                (_, Some(verb)) => Route::Kv { mount, verb, path },
                _ => Route::Other(mount),
            }
        }
    }
}

fn sys(path: &str) -> Route<'_> {
    let tuned = |rest: &'_ str| rest.strip_suffix("/tune").map(str::len);
    match path {
        "health" => Route::Health,
        "seal-status" => Route::SealStatus,
        "leader" => Route::Leader,
        "init" => Route::Init,
        "unseal" => Route::Unseal,
        "seal" => Route::Seal,
        "mounts" => Route::Mounts,
        "auth" => Route::AuthMounts,
        "policies/acl" => Route::Policies { old: false },
        "policy" => Route::Policies { old: true },
        "capabilities" => Route::Capabilities,
        "capabilities-self" => Route::CapabilitiesSelf,
        "capabilities-accessor" => Route::CapabilitiesAccessor,
        "internal/ui/mounts" => Route::UiMounts,
        "rotate" | "rotate/keyring" => Route::Rotate,
        "key-status" => Route::KeyStatus,
        "homelab/keys" => Route::Keys(""),
        "homelab/accept-rollback" => Route::AcceptRollback,
        "homelab/backup" => Route::Backup,
        "homelab/policy/test" => Route::PolicyTest,
        other => {
            if let Some(rest) = other.strip_prefix("mounts/") {
                return tuned(rest).map_or(Route::Mount(rest), |len| Route::MountTune(&rest[..len]));
            }
            if let Some(rest) = other.strip_prefix("auth/") {
                return tuned(rest).map_or(Route::AuthMount(rest), |len| Route::AuthTune(&rest[..len]));
            }
            if let Some(name) = other.strip_prefix("policies/acl/") {
                return Route::Policy { name, old: false };
            }
            if let Some(name) = other.strip_prefix("policy/") {
                return Route::Policy { name, old: true };
            }
            if let Some(rest) = other.strip_prefix("homelab/keys/") {
                return Route::Keys(rest);
            }
            if let Some(rest) = other.strip_prefix("homelab/git/") {
                return Route::Git(rest);
            }
            if let Some(rest) = other.strip_prefix("homelab/versions/") {
                return Route::Versions(rest);
            }
            other.strip_prefix("internal/ui/mounts/").map_or(Route::Unsupported, Route::UiMount)
        }
    }
}

/// Decodes a path below `/v1/` as it was sent; says why it is none that can be asked for. What comes back has no empty
/// part, no `.` and `..`, no control characters, and no slash at either end: what the policy sees is what is done.
pub(super) fn clean(sent: &str) -> Result<String, &'static str> {
    if sent.len() > MAX_PATH {
        return Err("the path is longer than 2048 bytes");
    }
    let mut bytes = Vec::with_capacity(sent.len());
    let mut rest = sent.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return Err("the path has a `%` without two hexadecimal digits");
        };
        match u8::try_from(high * 16 + low) {
            Ok(b'/') => return Err("the path has an encoded slash (%2F): write it as it is"),
            Ok(byte) => bytes.push(byte),
            Err(_) => return Err("the path has a `%` without two hexadecimal digits"),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "the path is not UTF-8")?;
    let bare = text.strip_suffix('/').unwrap_or(&text);
    if bare.chars().any(char::is_control) {
        return Err("the path has a control character");
    }
    if bare.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("the path has an empty part, `.` or `..`: relative paths are not supported");
    }
    Ok(bare.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_path_has_one_meaning() {
        let cases = [
            ("sys/health", Route::Health),
            ("sys/mounts/team", Route::Mount("team")),
            ("sys/mounts/team/tune", Route::MountTune("team")),
            ("sys/auth/jwt", Route::AuthMount("jwt")),
            ("sys/auth/jwt/tune", Route::AuthTune("jwt")),
            ("sys/policies/acl/web", Route::Policy { name: "web", old: false }),
            ("sys/policy/web", Route::Policy { name: "web", old: true }),
            ("sys/internal/ui/mounts/kv/web/db", Route::UiMount("kv/web/db")),
            ("sys/homelab/git/home/open/web/db", Route::Git("home/open/web/db")),
            ("sys/homelab/git", Route::Unsupported),
            ("sys/homelab/versions/resolve/web/web/kv/db", Route::Versions("resolve/web/web/kv/db")),
            ("sys/homelab/versions", Route::Unsupported),
            ("sys/rotate", Route::Rotate),
            ("sys/rotate/keyring", Route::Rotate),
            ("sys/rotate/root/init", Route::Unsupported),
            ("sys/homelab/keys", Route::Keys("")),
            ("sys/homelab/keys/slots/ab", Route::Keys("slots/ab")),
            ("sys/homelab/policy/test", Route::PolicyTest),
            ("sys/homelab/policy", Route::Unsupported),
            ("sys/raw/x", Route::Unsupported),
            ("sys", Route::Unsupported),
            ("auth/token/create", Route::Auth(AuthKind::Token, "create")),
            ("auth/approle/role/ci/secret-id", Route::Auth(AuthKind::AppRole, "role/ci/secret-id")),
            ("auth/ldap/login", Route::Other("auth")),
            ("kv/data/web/db", Route::Kv { mount: "kv", verb: Verb::Data, path: "web/db" }),
            ("kv/metadata", Route::Kv { mount: "kv", verb: Verb::Metadata, path: "" }),
            ("kv/config", Route::KvConfig("kv")),
            ("kv/config/x", Route::Other("kv")),
            ("kv/web/db", Route::Other("kv")),
            ("kv", Route::Other("kv")),
        ];
        for (path, expect) in cases {
            assert_eq!(route(path), expect, "{path}");
        }
        let open =
            ["sys/health", "sys/init", "sys/unseal", "auth/jwt/login", "auth/approle/login", "auth/kubernetes/login"];
        assert!(open.into_iter().all(|path| route(path).is_open()));
        let closed =
            ["sys/seal", "auth/token/login", "auth/jwt/login/x", "auth/jwt/config", "kv/data/login", "sys/mounts"];
        assert!(!closed.into_iter().any(|path| route(path).is_open()));
    }

    #[test]
    fn tricks_are_refused() {
        for (sent, expect) in
            [("kv/data/a%20b", "kv/data/a b"), ("kv/metadata/web/", "kv/metadata/web"), ("a%c3%a9", "aé")]
        {
            assert_eq!(clean(sent).as_deref(), Ok(expect));
        }
        let long = "a/".repeat(5000);
        for sent in [
            "kv/data/../x",
            "kv/data/%2e%2e/x",
            "kv/data/.%2E/x",
            "kv//data",
            "/kv",
            "",
            "/",
            "kv/data/a%2fb",
            "kv/a%00b",
            "kv/a%0ab",
            "kv/a%",
            "kv/a%g0",
            "kv/a%ff",
            "kv/data/a//",
            "kv/./a",
            &long,
        ] {
            assert!(clean(sent).is_err(), "{sent}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_clean_or_refused(sent in "(%2e|%2f|%25|%00|\\.|/|a|sys|auth|kv|data|\\PC){0,12}") {
            if let Ok(path) = clean(&sent) {
                prop_assert!(path.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
                let _ = route(&path);
            }
        }
    }
}
