//! Stint.

