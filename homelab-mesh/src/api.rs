//! Objects of others, as far as we read them.

pub mod gateway;
