//! Words of Kubernetes and of the OS that two or more homelab libraries need.
