//! Conditions and answers, computed from a plan.
