//! Gates: checks that a new revision has to pass.
