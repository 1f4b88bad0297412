//! One resumable action at a time.
