//! What can go wrong, in words for the person who reads `kubectl get gitsync`.

use homelab_core::class::Class;

use crate::render::Problem;

/// A failure of this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository could not be asked or fetched.
    #[error("{fault} {url}: {detail}; {advice}", advice = fault.advice())]
    Source {
        /// URL without credentials.
        url: String,
        /// What kind of trouble.
        fault: Fault,
        /// Cause.
        detail: String,
    },
    /// A folder is not in the commit.
    #[error("folder {path:?} is not in commit {commit}: correct the path, or push the folder")]
    Path {
        /// Folder.
        path: String,
        /// Commit.
        commit: String,
    },
    /// An object of Git is not in the local clone (yet).
    #[error("{object} of GitSync {owner} is not on this machine: it comes with the next fetch")]
    NotFetched {
        /// Which.
        object: String,
        /// `NAMESPACE/NAME`.
        owner: String,
    },
    /// Files of the commit can not be applied.
    #[error("{}", crate::render::describe(.0))]
    Render(Vec<Problem>),
    /// An object of the cluster could not be read or written.
    #[error("{object}: {detail}")]
    Object {
        /// Which.
        object: String,
        /// Cause and what to do.
        detail: String,
        /// What it asks of us.
        class: Class,
    },
    /// The secrets in a commit's sealed files could not be shown.
    #[error("sealed files: {detail} (the secrets of an earlier commit stay as they are)")]
    Sealed {
        /// Which files, why, and what to do; without values.
        detail: String,
        /// What it asks of us.
        class: Class,
    },
    /// Several of these at once; the first says it all if the list is long.
    #[error("{}", several(.0))]
    Several(Vec<Self>),
    /// The GitSync asks for something that can not be.
    #[error("{0}")]
    Spec(String),
    /// The daemon's own disk.
    #[error("cannot {action} {path}: {detail}; check space and rights of the daemon's data directory")]
    Storage {
        /// Verb.
        action: &'static str,
        /// File or folder.
        path: String,
        /// Cause.
        detail: String,
    },
    /// A broken assumption of ours.
    #[error("internal error: {0}; please report it")]
    Bug(String),
}

/// Why a repository could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The name has no address.
    Dns,
    /// No connection, or it broke.
    Unreachable,
    /// The server's certificate is not trusted.
    Certificate,
    /// User, password or token were refused, or none were given.
    Unauthenticated,
    /// They are known, but may not read this repository.
    Forbidden,
    /// No such repository.
    NoRepository,
    /// No such branch, tag or commit.
    NoReference,
    /// The server has trouble of its own.
    Server,
    /// It is no Git server, or it speaks something unknown.
    Protocol,
    /// The daemon does not fetch from there.
    Refused,
}

impl Fault {
    /// Reason of the condition, in CamelCase.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Dns => "HostNotFound",
            Self::Unreachable => "GitUnreachable",
            Self::Certificate => "CertificateNotTrusted",
            Self::Unauthenticated => "CredentialsRefused",
            Self::Forbidden => "AccessDenied",
            Self::NoRepository => "RepositoryNotFound",
            Self::NoReference => "ReferenceNotFound",
            Self::Server => "GitServerFailed",
            Self::Protocol => "NotAGitRepository",
            Self::Refused => "UrlRefused",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Dns => "check the host in spec.url and the cluster's DNS",
            Self::Unreachable => "check that the Git server runs and can be reached; it is tried again",
            Self::Certificate => {
                "put the CA's certificate (PEM) under the key caCrt of the Secret that spec.secretRef names"
            }
            Self::Unauthenticated => "check username and password, or token, in the Secret that spec.secretRef names",
            Self::Forbidden => "give this user or token the right to read the repository",
            Self::NoRepository => {
                "check spec.url; many forges answer so too when credentials are missing (spec.secretRef)"
            }
            Self::NoReference => "check spec.ref, or push it",
            Self::Server => "look at the Git server's log; it is tried again",
            Self::Protocol => "check that spec.url is the clone URL of a repository",
            Self::Refused => "use an http(s) URL",
        }
    }

    fn class(self) -> Class {
        match self {
            Self::Dns | Self::Unreachable | Self::Server => Class::Retry,
            Self::Certificate | Self::Protocol | Self::Refused => Class::Invalid,
            Self::Unauthenticated | Self::Forbidden => Class::Denied,
            Self::NoRepository | Self::NoReference => Class::NotFound,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dns => "no address for the host of",
            Self::Unreachable => "no connection to",
            Self::Certificate => "no trust in the certificate of",
            Self::Unauthenticated => "credentials refused by",
            Self::Forbidden => "no right to read",
            Self::NoRepository => "no repository at",
            Self::NoReference => "no such ref in",
            Self::Server => "server error from",
            Self::Protocol => "no Git repository behind",
            Self::Refused => "not allowed to fetch",
        })
    }
}

impl Error {
    /// What it asks of the caller.
    pub fn class(&self) -> Class {
        match self {
            Self::Source { fault, .. } => fault.class(),
            Self::Path { .. } => Class::NotFound,
            Self::NotFetched { .. } | Self::Storage { .. } => Class::Retry,
            Self::Render(_) | Self::Spec(_) => Class::Invalid,
            Self::Object { class, .. } | Self::Sealed { class, .. } => *class,
            Self::Several(errors) => Self::worst(errors).map_or(Class::Bug, Self::class),
            Self::Bug(_) => Class::Bug,
        }
    }

    /// All of `errors` as one; none if there is none.
    pub fn all(mut errors: Vec<Self>) -> Option<Self> {
        if errors.len() > 1 { Some(Self::Several(errors)) } else { errors.pop() }
    }

    /// One that needs a change by somebody, if there is one: waiting alone will not do then.
    fn worst(errors: &[Self]) -> Option<&Self> {
        errors.iter().find(|error| !error.class().is_passing()).or_else(|| errors.first())
    }

    /// Reason of the condition, in CamelCase.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Source { fault, .. } => fault.reason(),
            Self::Path { .. } => "PathNotFound",
            Self::NotFetched { .. } => "NotFetched",
            Self::Render(_) => "RenderFailed",
            Self::Object { class, .. } => match class {
                Class::Retry => "ApiServerUnavailable",
                Class::Conflict => "OwnedByAnother",
                Class::NotFound => "ObjectNotFound",
                Class::Invalid => "ObjectInvalid",
                Class::Denied => "AccountNotAllowed",
                Class::Bug => "InternalError",
            },
            Self::Sealed { class, .. } => match class {
                Class::Invalid => "SealedFilesBroken",
                Class::Denied => "SealedFilesDenied",
                _ => "SecretStoreUnavailable",
            },
            Self::Several(errors) => Self::worst(errors).map_or("InternalError", Self::reason),
            Self::Spec(_) => "SpecInvalid",
            Self::Storage { .. } => "StorageFailed",
            Self::Bug(_) => "InternalError",
        }
    }

    #[cfg(any(feature = "git", feature = "testing", test))]
    pub(crate) fn storage(action: &'static str, path: &std::path::Path, cause: &impl std::fmt::Display) -> Self {
        Self::Storage { action, path: path.display().to_string(), detail: cause.to_string() }
    }
}

/// At most five messages, in one line.
fn several(errors: &[Error]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = errors.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = errors.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(" | ") } else { format!("{} | and {more} more", shown.join(" | ")) }
}
