//! Lock classes: all locks that are made at one place of the source are one class.
//!
//! What is learnt about one lock of a class holds for all of them, so an order that two locks could violate is
//! found when any two of their classes have been seen, and a lock that lives for a microsecond counts as much
//! as a static. A place may appear in the image more than once (inlining copies its `Location`), so places are
//! compared by what they say. A class that must be taken inside itself, parent and child of a tree for example,
//! gets further classes by a *subclass* number. A constructor that passes its caller's place on gives it to every lock
//! that it makes; those of different kinds stay apart.
//!
//! Invariant: a class keeps its number; there are never two with the same place, kind and subclass.
//! Context: any; plain data, owned by the checker. Locks: none.
#![forbid(unsafe_code)]

use core::panic::Location;
use core::sync::atomic::{AtomicU16, Ordering};

/// A place in the source.
pub type Place = &'static Location<'static>;

/// The most classes there can be.
pub const CLASSES_MAX: usize = 256;
/// Heads of the search chains.
const BUCKETS: usize = 128;

/// What a lock does to whoever waits for it, the strictest first. A lock may be taken while one of its own
/// kind or of a later one is held, in every model: a spin lock sleeps in `rt`, and so must not be taken inside
/// a raw one in `full` either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Spins in every model.
    Raw,
    /// Spins, or sleeps in `rt` and in the event-driven style.
    Spin,
    /// Sleeps in every model.
    Sleep,
}

/// The number of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassId(u8);

const _: () = assert!(CLASSES_MAX == u8::MAX as usize + 1, "a class number is a u8");

impl ClassId {
    /// The first one.
    pub const FIRST: Self = Self(0);

    /// As an index, below [`CLASSES_MAX`].
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The class with this index.
    #[inline(always)]
    #[must_use]
    pub fn from_index(index: usize) -> Self {
        debug_assert!(index < CLASSES_MAX, "class {index}: expected less than {CLASSES_MAX}");
        Self(index as u8)
    }
}

/// What every lock carries in debug builds: its kind and where it was made, and, once known, its class.
pub struct LockKey {
    made_at: Place,
    kind: Kind,
    subclass: u8,
    /// The class's number plus one, or 0 before the first use.
    class: AtomicU16,
}

impl LockKey {
    /// The key of a lock that the caller makes.
    #[must_use]
    #[track_caller]
    pub const fn new(kind: Kind) -> Self {
        Self::with_subclass(kind, 0)
    }

    /// As [`Self::new`], for a lock that is taken while another one made at the same place is held.
    #[must_use]
    #[track_caller]
    pub const fn with_subclass(kind: Kind, subclass: u8) -> Self {
        Self { made_at: Location::caller(), kind, subclass, class: AtomicU16::new(0) }
    }

    /// Where the lock was made.
    #[must_use]
    pub const fn made_at(&self) -> Place {
        self.made_at
    }
}

/// A class.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Where its locks are made.
    pub made_at: Place,
    /// Told apart from others of the same place by this.
    pub subclass: u8,
    /// What its locks do.
    pub kind: Kind,
    /// The next one in the chain, plus one.
    next: u16,
}

/// All classes.
pub struct Classes {
    entries: [Option<Class>; CLASSES_MAX],
    /// The newest class of each chain, plus one.
    buckets: [u16; BUCKETS],
    len: usize,
}

impl Classes {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: [None; CLASSES_MAX], buckets: [0; BUCKETS], len: 0 }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The class with this number, if there is one.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Class> {
        self.entries.get(index)?.as_ref()
    }

    /// The class of the lock with this key; a new one if its place has none. Nothing if the table is full.
    #[inline(always)]
    pub fn of(&mut self, key: &LockKey) -> Option<ClassId> {
        match key.class.load(Ordering::Relaxed) {
            0 => self.find_or_add(key),
            known => Some(ClassId::from_index(usize::from(known) - 1)),
        }
    }

    /// The class of the lock with this key, if it has one.
    #[must_use]
    pub fn known(&self, key: &LockKey) -> Option<ClassId> {
        match key.class.load(Ordering::Relaxed) {
            0 => None,
            known => Some(ClassId::from_index(usize::from(known) - 1)),
        }
    }

    /// Bound: the length of one chain, [`CLASSES_MAX`] at worst; once in the life of a lock.
    #[inline(never)]
    fn find_or_add(&mut self, key: &LockKey) -> Option<ClassId> {
        let bucket = (key.made_at.line() as usize * 31 + key.made_at.column() as usize) % BUCKETS;
        let mut at = self.buckets[bucket];
        while let Some(class) = usize::from(at).checked_sub(1).and_then(|index| self.get(index)) {
            if (class.kind, class.subclass) == (key.kind, key.subclass) && class.made_at == key.made_at {
                break;
            }
            at = class.next;
        }
        if at == 0 {
            let next = self.buckets[bucket];
            let class = Class { made_at: key.made_at, subclass: key.subclass, kind: key.kind, next };
            *self.entries.get_mut(self.len)? = Some(class);
            self.len += 1;
            at = self.len as u16;
            self.buckets[bucket] = at;
        }
        key.class.store(at, Ordering::Relaxed);
        Some(ClassId::from_index(usize::from(at) - 1))
    }
}

impl Default for Classes {
    fn default() -> Self {
        Self::new()
    }
}
