//! Kinds of this library.
