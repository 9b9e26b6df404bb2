//! The watchers: CPUs that get nowhere, and tasks that wait for a lock that nobody gives back.
//!
//! | module | what |
//! |---|---|
//! | [`judge`] | does a CPU get on? pure |
//! | [`share`] | which CPU watches which; pure |
//! | `lockup` | the looks, every half threshold, out of a timer |
//! | `answer` | a CPU's own back-trace, asked for by another one |
//! | `report` | what is said |
//! | [`waits`] | which waits are too long; pure |
//! | `hung` | the thread that looks at the tasks |
//!
//! **What it costs.** A CPU that keeps house is interrupted every `watchdog_thresh / 2` seconds and looks at two words of
//! each CPU that it watches. The watched CPU is neither interrupted nor slowed down: what is looked at it writes anyhow.
//! An isolated CPU watches nobody.
//!
//! The looks are made in the timer's interrupt and not by a thread, because on one CPU the task that does not give it
//! up would keep the thread off as well (docs/adr/0017).
//!
//! Context: [`start`] and [`stop`] in threads.

#[cfg(target_os = "none")]
mod answer;
#[cfg(target_os = "none")]
mod hung;
pub mod judge;
#[cfg(target_os = "none")]
mod lockup;
#[cfg(target_os = "none")]
mod report;
pub mod share;
pub mod waits;

/// After this long a CPU that gets nowhere is reported, unless `watchdog_thresh=` says otherwise. Linux's value.
pub const DEFAULT_THRESH_S: u32 = 10;
/// After this long a task that waits for a lock is reported, unless `hung_task_timeout=` says otherwise. Linux's value.
pub const DEFAULT_HUNG_S: u32 = 120;

/// What has been told since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reports {
    /// CPUs that got nowhere.
    pub stuck: u32,
    /// Those of them that got on again.
    pub recovered: u32,
    /// Tasks that waited for a lock for too long.
    pub hung: u32,
}

#[cfg(target_os = "none")]
pub(crate) use answer::write_down;
#[cfg(target_os = "none")]
pub(crate) use lockup::{cpu_going_down, cpu_online};
#[cfg(target_os = "none")]
pub use report::reports;
#[cfg(target_os = "none")]
pub use running::{settings, start, start_from_bootargs, stop};

#[cfg(target_os = "none")]
mod running {
    use super::{DEFAULT_HUNG_S, DEFAULT_THRESH_S, hung, lockup};
    use crate::bootargs::Bootargs;
    use crate::error::Result;
    use crate::locking::Mutex;
    use crate::time::NSEC_PER_SEC;

    /// Nanoseconds for CPUs and for tasks; 0: not watched.
    static SETTINGS: Mutex<(u64, u64)> = Mutex::new((0, 0));

    /// Watches CPUs with a threshold of `thresh_ns` and tasks with one of `hung_ns`; 0 for not at all. Replaces what was set
    /// before. Both are for people and not for deadlines: seconds, but for tests. Thread context.
    ///
    /// # Errors
    /// [`crate::Error::NoMemory`] for the thread that watches tasks; CPUs are watched then all the same.
    pub fn start(thresh_ns: u64, hung_ns: u64) -> Result<()> {
        let mut settings = SETTINGS.lock();
        *settings = (thresh_ns, hung_ns);
        lockup::set_threshold(thresh_ns);
        hung::set_timeout(hung_ns)
    }

    /// Watches nobody. Thread context.
    pub fn stop() {
        // No thread is made for a threshold of 0.
        let _ = start(0, 0);
    }

    /// The thresholds in nanoseconds, for CPUs and for tasks; 0: not watched.
    #[must_use]
    pub fn settings() -> (u64, u64) {
        *SETTINGS.lock()
    }

    /// What the boot arguments say; where they say nothing, the defaults if `by_default`, or nobody is watched.
    pub fn start_from_bootargs(args: &Bootargs, by_default: bool) {
        let or = |seconds: Option<u32>, default| {
            u64::from(seconds.unwrap_or(if by_default { default } else { 0 })) * NSEC_PER_SEC
        };
        let thresh_ns = or(args.watchdog_thresh, DEFAULT_THRESH_S);
        let hung_ns = or(args.hung_task_timeout, DEFAULT_HUNG_S);
        if let Err(error) = start(thresh_ns, hung_ns) {
            log::error!(target: "watchdog", "tasks are not watched: {error}");
        }
    }
}
