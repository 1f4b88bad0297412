//! Chart archives: reproducible, content-addressed.
