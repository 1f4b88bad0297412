//! The module `backend` of the store.
