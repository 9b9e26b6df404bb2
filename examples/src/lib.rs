//! Small images that a user would write first. Each file in `src/bin` is one; `make run IMAGE=blinky` boots it.
#![no_std]
