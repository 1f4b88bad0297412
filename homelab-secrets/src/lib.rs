//! A sealed, versioned secret store with Vault's KV v2 API, policies, and injection into pods.
