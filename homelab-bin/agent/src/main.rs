//! Writes a pod's secrets to its memory volume before the pod's own containers start.

fn main() {}
