//! The program homelab: daemon and command line over the homelab libraries.
