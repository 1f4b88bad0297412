//! What brings secrets into a pod.
