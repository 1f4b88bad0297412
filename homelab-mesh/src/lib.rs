//! Who gets the traffic: blue-green splits through Gateway API and plain Services, confirmed.

pub mod error;
pub mod router;
pub mod split;
