//! The application that demo and tests roll out: answers with its version and its secret.

fn main() {}
