//! Makes a cluster hold what a Git repository holds: source, render, plan, apply, prune, health, drift.
