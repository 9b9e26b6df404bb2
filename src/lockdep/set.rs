//! A set of lock classes: 256 bits.
//!
//! Invariant: none beyond the bits. Context: any; plain data, owned by the checker. Locks: none.
#![forbid(unsafe_code)]

use super::class::{CLASSES_MAX, ClassId};

const WORDS: usize = CLASSES_MAX / 64;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassSet([u64; WORDS]);

impl ClassSet {
    /// Nothing.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// One class.
    #[must_use]
    pub fn of(class: ClassId) -> Self {
        let mut set = Self::EMPTY;
        set.insert(class);
        set
    }

    /// Whether `class` is in it.
    #[inline(always)]
    #[must_use]
    pub fn contains(&self, class: ClassId) -> bool {
        self.0[class.index() / 64] >> (class.index() % 64) & 1 != 0
    }

    /// Puts `class` in; returns whether it was not there.
    #[inline(always)]
    pub fn insert(&mut self, class: ClassId) -> bool {
        let is_new = !self.contains(class);
        self.0[class.index() / 64] |= 1 << (class.index() % 64);
        is_new
    }

    /// Takes `class` out.
    pub fn remove(&mut self, class: ClassId) {
        self.0[class.index() / 64] &= !(1 << (class.index() % 64));
    }

    /// Takes the smallest one out.
    pub fn pop(&mut self) -> Option<ClassId> {
        let word = self.0.iter().position(|&bits| bits != 0)?;
        let bit = self.0[word].trailing_zeros() as usize;
        self.0[word] &= self.0[word] - 1;
        Some(ClassId::from_index(word * 64 + bit))
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    /// Adds all of the other.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// How many are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }
}
