//! Stand-in for the locks (written elsewhere): spin locks that know nothing of preemption.

pub use spin::mutex::SpinMutex as SpinLock;
pub use spin::mutex::SpinMutex as Mutex;
