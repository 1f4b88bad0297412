//! The module `seal` of the store.
