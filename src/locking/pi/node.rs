//! What the graph of priority inheritance is made of: locks, tasks, waiters, and the pointers between them.
//!
//! A lock has an owner and a list of waiters. A task has at most one lock that it waits for, and a list of
//! *donations*: for each lock that it owns and somebody wants, the lock's top waiter. A waiter is on both
//! lists while it is the top of its lock, on the first otherwise; it lives on the stack of the task that
//! waits. All lists are [`PlistHead`]s: an insertion takes at most one step per distinct priority, of which
//! there are 101 and those of the deadline class.
//!
//! This file is the only one of the graph with `unsafe` in it: the lists are intrusive. [`At`] is how
//! everything points at everything; whoever makes one promises what the rest relies on.
//!
//! Invariant: the owner word is zero, or the address of a living task, with bit 0 set exactly while
//! somebody waits. Without the bit it is changed by compare-and-swap alone; with it, under the PI lock alone.
//!
//! Contexts: any. Lock: the PI lock (`locking::pi`), but for the four functions on the owner word that say so.

use crate::plist::{PlistHead, PlistNode};
use core::cell::Cell;
use core::marker::PhantomData;
use core::mem::{align_of, offset_of};
use core::ops::Deref;
use core::panic::Location;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Bit 0 of the owner word: somebody waits, go the slow way.
const HAS_WAITERS: usize = 1;

/// What the graph has to know of a task, and what it does to it.
pub trait PiEntity: Sized {
    /// Its part of the graph.
    fn pi(&self) -> &PiTask<Self>;
    /// The kernel priority in force.
    fn prio(&self) -> i32;
    /// The kernel priority without inheritance.
    fn normal_prio(&self) -> i32;
    /// Puts `prio` in force, wherever the task is. `donor` is the waiter that it comes from, if it is inherited.
    fn set_prio(&self, prio: i32, donor: Option<&Self>);
}

/// A pointer to a part of the graph. Two are equal when they mean the same object.
#[derive(Debug)]
pub struct At<T>(NonNull<T>);

impl<T> Clone for At<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for At<T> {}

impl<T> PartialEq for At<T> {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> At<T> {
    /// Points at `object`.
    ///
    /// # Safety
    /// The object does not move and is not freed while this or a copy of it is used, and everything done
    /// through it happens under the PI lock. For a waiter: until the graph has taken it off its lock. For a
    /// task: as long as it waits for a lock or owns one that is waited for.
    #[inline(always)]
    pub const unsafe fn new(object: &T) -> Self {
        Self(NonNull::from_ref(object))
    }
}

impl<T> Deref for At<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: contract of `new`.
        unsafe { self.0.as_ref() }
    }
}

/// A task's part of the graph.
#[derive(Debug)]
pub struct PiTask<T> {
    donations: PlistHead,
    blocked_on: Cell<Option<At<Waiter<T>>>>,
    /// Locks that the task holds or is about to take. Changed by the task itself alone, without a lock: the
    /// task raises it before it tries, so at no instruction does it own a lock that is not counted.
    pub(crate) held: Cell<u32>,
}

impl<T> PiTask<T> {
    /// A task that holds nothing and waits for nothing.
    pub const fn new() -> Self {
        Self { donations: PlistHead::new(), blocked_on: Cell::new(None), held: Cell::new(0) }
    }

    /// Its place in the list of the lock that it waits for, if it does.
    #[inline(always)]
    pub fn blocked_on(&self) -> Option<At<Waiter<T>>> {
        self.blocked_on.get()
    }

    /// The most important waiter of all the locks that it owns.
    #[inline(always)]
    pub fn top_donation(&self) -> Option<At<Waiter<T>>> {
        self.donations.first().map(|node| {
            // SAFETY: only `donation` nodes of waiters are on the list, and a waiter stays while it is there.
            At(unsafe { node.byte_sub(const { offset_of!(Waiter<T>, donation) }) }.cast())
        })
    }
}

/// A task that waits for a lock: its places in the lists.
#[derive(Debug)]
pub struct Waiter<T> {
    place: PlistNode,
    donation: PlistNode,
    task: At<T>,
    lock: At<PiLock<T>>,
}

impl<T: PiEntity> Waiter<T> {
    /// `task` is going to wait for `lock`.
    ///
    /// # Safety
    /// As for [`At::new`], for both.
    #[inline(always)]
    pub unsafe fn new(task: &T, lock: &PiLock<T>) -> Self {
        // SAFETY: passed on.
        let (task, lock) = unsafe { (At::new(task), At::new(lock)) };
        Self { place: PlistNode::new(0), donation: PlistNode::new(0), task, lock }
    }

    /// The priority under which it waits.
    #[inline(always)]
    pub fn prio(&self) -> i32 {
        self.place.prio()
    }

    /// Who waits.
    #[inline(always)]
    pub fn task(&self) -> At<T> {
        self.task
    }

    /// What for.
    #[inline(always)]
    pub fn lock(&self) -> At<PiLock<T>> {
        self.lock
    }
}

impl<T: PiEntity> At<Waiter<T>> {
    #[inline(always)]
    fn place(self) -> NonNull<PlistNode> {
        // SAFETY: the waiter is valid (contract of `At::new`), so the field's address is inside it.
        unsafe { NonNull::new_unchecked(&raw mut (*self.0.as_ptr()).place) }
    }

    #[inline(always)]
    fn donation(self) -> NonNull<PlistNode> {
        // SAFETY: as in `place`.
        unsafe { NonNull::new_unchecked(&raw mut (*self.0.as_ptr()).donation) }
    }

    /// Joins the waiters of its lock, behind its equals.
    #[inline(always)]
    pub(super) fn file(self, prio: i32) {
        self.place.set_prio(prio);
        // SAFETY: on no list (the graph files a waiter once), pinned until `unfile`, PI lock held (`At::new`).
        unsafe { self.lock.waiters.add(self.place()) };
        self.task.pi().blocked_on.set(Some(self));
    }

    /// Leaves the waiters of its lock.
    #[inline(always)]
    pub(super) fn unfile(self) {
        // SAFETY: it is on this list and no other.
        unsafe { self.lock.waiters.del(self.place()) };
        self.task.pi().blocked_on.set(None);
    }

    /// Changes its priority, behind its new equals.
    pub(super) fn refile(self, prio: i32) {
        // SAFETY: it is on this list and no other.
        unsafe { self.lock.waiters.requeue(self.place(), prio) };
    }

    /// Becomes a donation to `owner`.
    #[inline(always)]
    pub(super) fn donate(self, owner: &T) {
        self.donation.set_prio(self.place.prio());
        // SAFETY: on no list: a waiter donates to one task, its lock's owner, and not twice.
        unsafe { owner.pi().donations.add(self.donation()) };
    }

    /// Is no donation to `owner` any more.
    #[inline(always)]
    pub(super) fn take_back(self, owner: &T) {
        // SAFETY: it was donated to this owner.
        unsafe { owner.pi().donations.del(self.donation()) };
    }
}

/// A lock with priority inheritance: its part of the graph.
#[derive(Debug)]
pub struct PiLock<T> {
    /// An address and not a pointer: LLVM makes two instructions less of it.
    owner: AtomicUsize,
    waiters: PlistHead,
    made_at: &'static Location<'static>,
    _owners: PhantomData<*const T>,
}

// SAFETY: the owner word is atomic, the list is touched under the PI lock alone.
unsafe impl<T: Sync> Sync for PiLock<T> {}
// SAFETY: as above; a lock that moves is not borrowed, so nobody waits for it.
unsafe impl<T: Sync> Send for PiLock<T> {}

impl<T> PiLock<T> {
    /// A free lock. It is known in messages by the place of the call.
    #[track_caller]
    pub const fn new() -> Self {
        const { assert!(align_of::<T>() > HAS_WAITERS) };
        Self {
            owner: AtomicUsize::new(0),
            waiters: PlistHead::new(),
            made_at: Location::caller(),
            _owners: PhantomData,
        }
    }

    /// Where it was made.
    pub fn made_at(&self) -> &'static Location<'static> {
        self.made_at
    }

    /// Takes the lock if it is free. Without the PI lock.
    #[inline(always)]
    pub fn take_free(&self, me: &T) -> bool {
        self.owner.compare_exchange(0, address_of(me), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Releases the lock if the caller owns it and nobody waits. Without the PI lock.
    #[inline(always)]
    pub fn release_unwanted(&self, me: &T) -> bool {
        self.owner.compare_exchange(address_of(me), 0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Whether somebody owns it. Without the PI lock: true a moment ago.
    pub fn is_locked(&self) -> bool {
        self.owner.load(Ordering::Relaxed) != 0
    }

    /// Whether `me` owns it. Without the PI lock.
    pub fn is_owned_by(&self, me: &T) -> bool {
        self.owner.load(Ordering::Relaxed) & !HAS_WAITERS == address_of(me)
    }

    /// Takes the lock for `me` if it is free; otherwise says who owns it, and keeps that owner from releasing it
    /// without the PI lock. To be followed by [`Self::settle`] or a waiter.
    pub fn take_or_pin(&self, me: &T) -> Option<At<T>> {
        // Another round follows only where another CPU has changed the word meanwhile.
        loop {
            let word = self.owner.load(Ordering::Relaxed);
            let owner = word & !HAS_WAITERS;
            let wanted = if owner == 0 { address_of(me) } else { word | HAS_WAITERS };
            if self.owner.compare_exchange_weak(word, wanted, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return at_address(owner);
            }
        }
    }

    /// Makes bit 0 say whether somebody waits.
    #[inline(always)]
    pub fn settle(&self) {
        if self.waiters.is_empty() {
            let owner = self.owner.load(Ordering::Relaxed) & !HAS_WAITERS;
            self.owner.store(owner, Ordering::Relaxed);
        }
    }

    /// Who owns it.
    #[inline(always)]
    pub fn owner(&self) -> Option<At<T>> {
        at_address(self.owner.load(Ordering::Relaxed) & !HAS_WAITERS)
    }

    /// Makes `owner` the owner, or nobody.
    #[inline(always)]
    pub(super) fn set_owner(&self, owner: Option<At<T>>) {
        let owner = owner.map_or(0, |owner| address_of(&*owner));
        let bit = if self.waiters.is_empty() { 0 } else { HAS_WAITERS };
        self.owner.store(owner | bit, Ordering::Release);
    }

    /// Makes it free: a pinned lock that nobody waits for.
    pub fn release_pinned(&self) {
        self.set_owner(None);
    }

    /// The most important waiter, the longest waiting one among equals.
    #[inline(always)]
    pub fn top(&self) -> Option<At<Waiter<T>>> {
        self.waiters.first().map(|node| {
            // SAFETY: only `place` nodes of waiters are on the list, and a waiter stays while it is there.
            At(unsafe { node.byte_sub(const { offset_of!(Waiter<T>, place) }) }.cast())
        })
    }
}

#[cfg(test)]
impl<T> PiLock<T> {
    /// The waiters, in the order in which they will be served.
    pub(super) fn waiters(&self) -> impl Iterator<Item = At<Waiter<T>>> {
        // SAFETY: one thread, and nothing changes while iterating; as in `top`.
        unsafe {
            self.waiters.iter().map(|node| At(node.byte_sub(const { offset_of!(Waiter<T>, place) }).cast()))
        }
    }
}

#[inline(always)]
fn address_of<T>(task: &T) -> usize {
    ptr::from_ref(task).expose_provenance()
}

/// The task at an address from an owner word.
#[inline(always)]
fn at_address<T>(address: usize) -> Option<At<T>> {
    NonNull::new(ptr::with_exposed_provenance_mut(address)).map(At)
}
