//! The module `server` of the store.
