//! Stand-in for the locks (written elsewhere): a spin lock that knows nothing of preemption.

pub use spin::mutex::SpinMutex as SpinLock;
