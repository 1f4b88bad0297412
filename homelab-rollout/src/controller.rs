//! The loop: observe, plan, execute, status.
