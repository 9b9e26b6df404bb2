//! Stint.
#![no_std]
