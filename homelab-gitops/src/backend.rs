//! Implementations of [`GitSource`](crate::source::GitSource), and folders on disk made from it.

#[cfg(feature = "git")]
pub mod gix;
#[cfg(any(feature = "testing", test))]
pub mod memory;
#[cfg(feature = "git")]
pub mod trees;
