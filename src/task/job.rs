//! What a task made by the kernel runs, and the value it leaves: one allocation that lives as long as the task.
//!
//! The closure is taken out when the task begins, the value is put in when it returns, and whoever joins takes
//! that. What is left when the task's memory goes is dropped: the closure of a task that never began, a value that
//! nobody asked for. So a task may end by `exit`, be aborted or never be started, and the job is not lost.
//!
//! Invariant: the closure belongs to the task; the value belongs to the task until it is dead, and from then on to
//! the one join handle. Context: threads.

use crate::error::{Error, Result};
use alloc::boxed::Box;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

/// Where a task leaves its value.
pub(super) type Slot<T> = NonNull<UnsafeCell<Option<T>>>;

/// A job whose types are forgotten. Dropping it frees the whole.
pub(super) struct Job {
    head: NonNull<Head>,
}

/// What there is to know about a job without knowing its types.
struct Head {
    run: extern "C" fn(usize) -> !,
    free: unsafe fn(NonNull<Head>),
}

#[repr(C)]
struct Typed<F, T> {
    /// First: a pointer to it is a pointer to the whole.
    head: Head,
    body: UnsafeCell<Option<F>>,
    value: UnsafeCell<Option<T>>,
}

impl Job {
    /// A job that runs `body`, and where its value will be for as long as the job lives.
    pub(super) fn new<F, T>(body: F) -> Result<(Self, Slot<T>)>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let job = Typed {
            head: Head { run: run::<F, T>, free: free::<F, T> },
            body: UnsafeCell::new(Some(body)),
            value: UnsafeCell::new(None),
        };
        let job = NonNull::from(Box::leak(try_box(job)?));
        // SAFETY: just made; the place of a field.
        let slot = unsafe { NonNull::new_unchecked(&raw mut (*job.as_ptr()).value) };
        Ok((Self { head: job.cast() }, slot))
    }

    /// The function to start a task with; its argument is [`Self::argument`].
    pub(super) fn entry(&self) -> extern "C" fn(usize) -> ! {
        // SAFETY: the job lives as long as this value.
        unsafe { self.head.as_ref() }.run
    }

    /// See [`Self::entry`].
    pub(super) fn argument(&self) -> usize {
        self.head.as_ptr().expose_provenance()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // SAFETY: made by `new` with the matching function, and freed once.
        unsafe { (self.head.as_ref().free)(self.head) };
    }
}

/// The first function of the task.
extern "C" fn run<F: FnOnce() -> T, T>(argument: usize) -> ! {
    // SAFETY: `argument` is a job of these types, and lives as long as the task that runs here.
    let job = unsafe { &*core::ptr::with_exposed_provenance::<Typed<F, T>>(argument) };
    // SAFETY: the closure belongs to the task.
    if let Some(body) = unsafe { (*job.body.get()).take() } {
        let value = body();
        // SAFETY: nobody looks before the task is dead.
        unsafe { *job.value.get() = Some(value) };
    }
    super::exit()
}

/// # Safety
/// `head` is that of a job of these types, which nobody uses any more.
unsafe fn free<F, T>(head: NonNull<Head>) {
    // SAFETY: by contract; it came from a box.
    drop(unsafe { Box::from_raw(head.cast::<Typed<F, T>>().as_ptr()) });
}

/// `Box::new` that answers instead of aborting.
fn try_box<T>(value: T) -> Result<Box<T>> {
    let layout = Layout::new::<T>();
    // SAFETY: the layout is not empty: a job has a head.
    let at = unsafe { alloc::alloc::alloc(layout) }.cast::<T>();
    if at.is_null() {
        return Err(Error::NoMemory { bytes: super::builder::for_message(layout.size()) });
    }
    // SAFETY: allocated above, by the allocator that `Box` frees to, with the layout of a `T`.
    unsafe {
        at.write(value);
        Ok(Box::from_raw(at))
    }
}
