//! What is wrong is said on the object concerned, with what to do, and everything else goes on.

mod apps;
mod git;
mod people;
mod store;
