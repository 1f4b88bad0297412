//! Who gets the traffic: blue-green splits through Gateway API and plain Services, confirmed.
//!
//! A [`split::Split`] is the whole wish for a [`split::Route`]: weights, previews, and which backend an abort returns
//! to. A [`router::TrafficRouter`] makes the cluster hold it in one planned write and says how far it has come. What is
//! written is decided by the pure [`plan`]; feature `client` adds the backends that talk to the API server, feature
//! `testing` the suite that all of them pass.

pub mod api;
#[cfg(any(feature = "client", feature = "testing", test))]
pub mod backend;
pub mod confirm;
pub mod error;
pub mod managed;
pub mod plan;
pub mod router;
pub mod split;
#[cfg(any(feature = "testing", test))]
pub mod testing;
