//! The module `kv` of the store.
