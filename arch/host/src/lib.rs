//! Stint.
