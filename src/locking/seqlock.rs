//! The sequence lock: readers that never wait for a lock and never keep a writer waiting.
//!
//! A writer makes the sequence number odd, changes the value, and makes it even. A reader copies the value between two
//! looks at the number, and copies again if it was odd or has changed. So readers may be anywhere, hard interrupts
//! included; a writer masks interrupts for the copy, because a reader that interrupted it on its own CPU would wait for
//! ever (reference 8.1, 8.5). What a reader may meet is bounded: the copy of one value.
//!
//! Value and number are read while they are written. That is sound because every access is atomic: the value is
//! copied in relaxed words, which is what [`Plain`] is for.
//!
//! Context: any; `update` runs its closure with IRQs masked. Lock: a leaf.

use super::SchedLock;
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Types that are nothing but their bytes: every byte belongs to a value, and a copy is a copy.
///
/// # Safety
/// No padding, no interior mutability. (Not every pattern of bytes has to be a value: a torn copy is thrown away before
/// it is one.)
pub unsafe trait Plain: Copy + Send + 'static {}

macro_rules! plain {
    ($($type:ty),*) => {
        // SAFETY: a number: bytes without holes.
        $(unsafe impl Plain for $type {})*
    };
}
plain!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, u128, i128);

// SAFETY: an array has no holes but those of its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// See the module's text.
pub struct SeqLock<T: Plain> {
    /// Odd while the value changes.
    sequence: AtomicUsize,
    writer: SchedLock<()>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by atomic copies, and by one writer at a time.
unsafe impl<T: Plain> Sync for SeqLock<T> {}

impl<T: Plain> SeqLock<T> {
    /// A lock around `value`.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { sequence: AtomicUsize::new(0), writer: SchedLock::new(()), value: UnsafeCell::new(value) }
    }

    /// The value as it was at one moment. Any context.
    #[inline]
    pub fn read(&self) -> T {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let copy = self.load();
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == before {
                    // SAFETY: no writer was there: these are the bytes that one of them, or `new`, put there.
                    return unsafe { copy.assume_init() };
                }
            }
            // A writer on another CPU: here it could not have been interrupted.
            arch::cpu::relax();
        }
    }

    /// Replaces the value. Any context.
    pub fn write(&self, value: T) {
        let writer = self.writer.lock();
        self.store(value);
        writer.unlock_no_resched();
    }

    /// Changes the value; readers see it before or afterwards. Any context; `change` is short: IRQs are masked.
    pub fn update(&self, change: impl FnOnce(&mut T)) {
        let writer = self.writer.lock();
        // SAFETY: the one writer reads what no one else writes.
        let mut value = unsafe { self.load().assume_init() };
        change(&mut value);
        self.store(value);
        writer.unlock_no_resched();
    }

    /// With `writer` held.
    fn store(&self, value: T) {
        let before = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        // SAFETY: both are valid and aligned for a `T`.
        unsafe { copy_words::<T>(&raw const value, self.value.get(), Direction::In) };
        self.sequence.store(before.wrapping_add(2), Ordering::Release);
    }

    fn load(&self) -> MaybeUninit<T> {
        let mut copy = MaybeUninit::uninit();
        // SAFETY: both are valid and aligned for a `T`.
        unsafe { copy_words::<T>(self.value.get(), copy.as_mut_ptr(), Direction::Out) };
        copy
    }
}

/// Which side is shared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

/// Copies a `T` in the widest words that its alignment allows, atomically on the shared side.
///
/// # Safety
/// `from` is valid for reads, `to` for writes, both aligned; the private side is not shared.
#[inline(always)]
unsafe fn copy_words<T: Plain>(from: *const T, to: *mut T, direction: Direction) {
    macro_rules! copy {
        ($word:ty, $atomic:ty) => {
            for index in 0..size_of::<T>() / size_of::<$word>() {
                // SAFETY: inside the `T`, whose size is a multiple of its alignment; no byte of it is uninitialised
                // (`Plain`); the shared side is accessed by atomics alone.
                unsafe {
                    let (from, to) = (from.cast::<$word>().add(index), to.cast::<$word>().add(index));
                    match direction {
                        Direction::In => <$atomic>::from_ptr(to).store(from.read(), Ordering::Relaxed),
                        Direction::Out => {
                            to.write(<$atomic>::from_ptr(from.cast_mut()).load(Ordering::Relaxed))
                        }
                    }
                }
            }
        };
    }
    match align_of::<T>() {
        1 => copy!(u8, AtomicU8),
        2 => copy!(u16, AtomicU16),
        4 => copy!(u32, AtomicU32),
        _ => copy!(u64, AtomicU64),
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for SeqLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SeqLock").field(&self.read()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{thread, vec::Vec};

    #[test]
    fn a_value_of_any_alignment_is_copied_whole() {
        assert_eq!(SeqLock::new([1u8, 2, 3]).read(), [1, 2, 3]);
        assert_eq!(SeqLock::new([1u16; 5]).read(), [1; 5]);
        assert_eq!(SeqLock::new(7u128).read(), 7);
        let lock = SeqLock::new([0u64; 4]);
        lock.write([1, 2, 3, 4]);
        lock.update(|value| value[3] = 5);
        assert_eq!(lock.read(), [1, 2, 3, 5]);
    }

    #[test]
    fn readers_never_see_half_a_change() {
        static LOCK: SeqLock<[u32; 8]> = SeqLock::new([0; 8]);
        let rounds = if cfg!(miri) { 50 } else { 20_000 };
        let readers: Vec<_> = (0..2)
            .map(|_| {
                thread::spawn(move || {
                    let mut last = 0;
                    while last < rounds {
                        let value = LOCK.read();
                        assert!(value.iter().all(|&word| word == value[0]), "torn: {value:?}");
                        assert!(value[0] >= last, "back from {last} to {}", value[0]);
                        last = value[0];
                    }
                })
            })
            .collect();
        for round in 1..=rounds {
            LOCK.write([round; 8]);
        }
        for reader in readers {
            reader.join().unwrap();
        }
    }
}
