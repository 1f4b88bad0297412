//! What to do next: a pure function of spec, observation and time.
