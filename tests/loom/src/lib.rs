//! Models of what happens between CPUs: [loom](https://docs.rs/loom) runs each of them in every order in which the
//! CPUs may come, and with every value that a load may see under the memory model.
//!
//! Each model exists three times: with the orderings **as written**, without the acquires, and without the releases. As
//! written it must hold; of the other two each must fail where the protocol needs the ordering, which shows that the
//! model sees what it is for. The files of the protocols are the kernel's own where they are made of atomics alone
//! (`arch/host/src/ticket.rs`, `src/smp/llist.rs`); elsewhere a model says which lines it stands for.
//!
//! | model | of |
//! |---|---|
//! | `lock_*` | the ticket lock: exclusion, order of sections, a failed try |
//! | `call_*` | cross-CPU calls: who is told, the life of what is on the caller's stack, a CPU that goes |
//! | `wake_list_*` | the tasks that a CPU is to wake itself |
//! | `handoff_*` | sleeper, waker and a third: state, run-queue lock, `on_rq`, the registers of who sleeps |
//!
//! `PREEMPTIONS` bounds how often a CPU is interrupted by another one's steps where it need not wait: two find every
//! known kind of error in protocols of this size, and keep the run within a minute.
#![cfg(test)]
#![allow(dead_code, reason = "the included files have more than the models use")]

mod as_written;
mod without_acquire;
mod without_release;

/// See the text above.
const PREEMPTIONS: usize = 2;

/// Tries everything.
fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.max_branches = 3_000;
    builder.check(f);
}

/// The atomics of a world: loom's, with each ordering passed through `$through` first.
#[macro_export]
macro_rules! sync {
    ($through:expr) => {
        pub use loom::sync::atomic::Ordering;

        const THROUGH: fn(Ordering) -> Ordering = $through;

        pub fn relax() {
            loom::thread::yield_now();
        }

        macro_rules! atomic {
            ($name:ident, $value:ty) => {
                #[derive(Debug)]
                pub struct $name(loom::sync::atomic::$name);

                impl $name {
                    pub fn new(value: $value) -> Self {
                        Self(loom::sync::atomic::$name::new(value))
                    }
                    pub fn load(&self, order: Ordering) -> $value {
                        self.0.load(THROUGH(order))
                    }
                    pub fn store(&self, value: $value, order: Ordering) {
                        self.0.store(value, THROUGH(order));
                    }
                    pub fn swap(&self, value: $value, order: Ordering) -> $value {
                        self.0.swap(value, THROUGH(order))
                    }
                    pub fn compare_exchange(
                        &self,
                        old: $value,
                        new: $value,
                        yes: Ordering,
                        no: Ordering,
                    ) -> Result<$value, $value> {
                        self.0.compare_exchange(old, new, THROUGH(yes), THROUGH(no))
                    }
                    pub fn compare_exchange_weak(
                        &self,
                        old: $value,
                        new: $value,
                        yes: Ordering,
                        no: Ordering,
                    ) -> Result<$value, $value> {
                        self.compare_exchange(old, new, yes, no)
                    }
                }
            };
        }
        macro_rules! count {
            ($name:ident, $value:ty) => {
                impl $name {
                    pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                        self.0.fetch_add(value, THROUGH(order))
                    }
                    pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                        self.0.fetch_sub(value, THROUGH(order))
                    }
                }
            };
        }
        atomic!(AtomicU16, u16);
        count!(AtomicU16, u16);
        atomic!(AtomicU32, u32);
        count!(AtomicU32, u32);

        #[derive(Debug)]
        pub struct AtomicPtr<T>(loom::sync::atomic::AtomicPtr<T>);

        impl<T> AtomicPtr<T> {
            pub fn new(value: *mut T) -> Self {
                Self(loom::sync::atomic::AtomicPtr::new(value))
            }
            pub fn load(&self, order: Ordering) -> *mut T {
                self.0.load(THROUGH(order))
            }
            pub fn store(&self, value: *mut T, order: Ordering) {
                self.0.store(value, THROUGH(order));
            }
            pub fn swap(&self, value: *mut T, order: Ordering) -> *mut T {
                self.0.swap(value, THROUGH(order))
            }
            pub fn compare_exchange_weak(
                &self,
                old: *mut T,
                new: *mut T,
                yes: Ordering,
                no: Ordering,
            ) -> Result<*mut T, *mut T> {
                self.0.compare_exchange(old, new, THROUGH(yes), THROUGH(no))
            }
        }
    };
}
