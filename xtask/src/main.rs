//! Automation: cluster, image, code generation, tidy, test, demo.

fn main() {}
