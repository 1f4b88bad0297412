//! The module `keys` of the store.
