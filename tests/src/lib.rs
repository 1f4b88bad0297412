//! Harness, forge, load client, demo, bench and the end-to-end tests.
