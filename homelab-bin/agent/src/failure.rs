//! Why the agent could not do it.

use std::fmt;

/// How long the same failure is waited out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It can not pass without another pod spec or another value.
    None,
    /// Somebody said no; a policy or a secret may be on its way.
    Short,
    /// Something is away.
    Long,
}

impl Patience {
    /// What the daemon reads of the container's end (sysexits.h): EX_CONFIG, EX_NOPERM, EX_TEMPFAIL.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::None => 78,
            Self::Short => 77,
            Self::Long => 75,
        }
    }
}

/// A failure in words, without any secret.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) patience: Patience,
    message: String,
}

impl Failure {
    pub(crate) fn fixed(message: impl Into<String>) -> Self {
        Self { patience: Patience::None, message: message.into() }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { patience: Patience::Short, message: message.into() }
    }

    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self { patience: Patience::Long, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
