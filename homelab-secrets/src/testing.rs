//! The module `testing` of the store.
