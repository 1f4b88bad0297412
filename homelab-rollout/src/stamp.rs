//! The stamp that every rendered object of a revision gets.
