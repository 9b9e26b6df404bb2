//! Stacks on a PC: plain memory, so that what owns one compiles and its bookkeeping can be tested.

use alloc::boxed::Box;
use alloc::vec;

/// Largest stack, as on the machine.
pub const STACK_BYTES_MAX: usize = 64 * 1024;

/// Why there is no stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackError;

/// Memory of the size of a stack. Nothing runs on it.
#[derive(Debug)]
pub struct Stack(Box<[u64]>);

impl Stack {
    /// Memory for a stack.
    pub fn new(stack_bytes: usize) -> Result<Self, StackError> {
        if stack_bytes == 0 || stack_bytes > STACK_BYTES_MAX {
            return Err(StackError);
        }
        Ok(Self(vec![0; stack_bytes.div_ceil(8)].into_boxed_slice()))
    }

    /// Lowest address.
    pub fn bottom(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// Address after the highest.
    pub fn top(&self) -> usize {
        self.bottom() + self.0.len() * 8
    }
}
