//! How a new version takes over: revisions, strategies, gates, engines.
