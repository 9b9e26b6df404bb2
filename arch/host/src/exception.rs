//! No exceptions on a PC.
