//! Requests of people, as data.
