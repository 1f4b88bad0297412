//! The module `store` of the store.
