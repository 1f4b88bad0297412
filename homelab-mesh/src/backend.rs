//! Ways to move traffic.

pub mod memory;

#[cfg(feature = "client")]
pub mod choose;
#[cfg(feature = "client")]
mod cluster;
#[cfg(feature = "client")]
pub mod gateway;
#[cfg(feature = "client")]
pub mod service;

#[cfg(feature = "client")]
#[cfg(test)]
mod tests;
