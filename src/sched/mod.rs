//! The scheduler.
//!
//! The classes are pure: they see a run queue, tasks and a clock value, and
//! answer with values. They hold no global state, call no architecture
//! function, allocate nothing, and run unchanged under tests on a PC.
//!
//! | module | what |
//! |---|---|
//! | `prio` | priorities, nice values, policies, weights; all input checks |
//! | `load` | fixed-point weight arithmetic |
//! | `class` | the classes' order, flags, and the `Resched` answer |
//! | `entity` | what the classes know of a task, and how they point at it |
//! | `deadline`, `deadline_rq` | CBS: a task's budget; earliest deadline first (`deadline_tree`, `deadline_admit`) |
//! | `rt` | FIFO and RR (`prio_array`: its lists and bitmap) |
//! | `fair`, `fair_preempt` | CFS: accounts, decisions (`timeline`, `tunables`) |
//! | `idle` | what runs otherwise |
//! | `core` | the one place that switches |
//! | `runqueue`, `hooks` | the run queues of all CPUs and their locks; where other CPUs are asked about |
//! | `wakeup`, `control` | wake-ups, new tasks, the tick; yield and changes of priority |
//! | `wakeup_smp`, `wake_list` | wake-ups where there are several CPUs; those that the other CPU makes itself |
//! | `affinity`, `migrate`, `push_pull` | where a task may run; moving it; who runs where, of several CPUs |
//! | `rebalance` | spreading fair tasks: when, and the carrying out of what `balance` decides |
//! | `stop` | the stoppers: what comes between whatever runs on a CPU |
//! | `resched_irq` | the interrupt that `preempt_style=event` makes of a request |
//! | `wait` | sleeping on a queue and being woken from it |
//! | `nohz` | no tick for a single task |
//! | `watch` | a look at a run queue from outside |
//! | `rq`, `lazy`, `params`, `special` | a CPU's run queue: the door to it all |
//! | `smp`, `pushable`, `cpupri` | one CPU of several: who may be taken away, and what runs where |
//! | `select`, `balance` | where a task is to run (`pelt`, `cpu_loads`: what there is to do where) |
//! | `bandwidth`, `event`, `notice` | real-time throttling; the timer behind it and behind deadline budgets; what is told of them |

pub(crate) mod affinity;
pub mod balance;
pub mod bandwidth;
pub mod class;
mod control;
pub mod core;
pub mod cpu_loads;
pub mod cpupri;
pub mod deadline;
pub mod deadline_admit;
pub mod deadline_rq;
mod deadline_tree;
pub(crate) mod dl_root;
pub mod entity;
#[cfg(target_os = "none")]
pub(crate) mod evacuate;
mod event;
pub mod fair;
mod fair_preempt;
mod hooks;
mod idle;
mod lazy;
pub mod load;
mod migrate;
pub(crate) mod nohz;
pub mod notice;
mod params;
pub mod pelt;
pub mod prio;
mod prio_array;
mod push_pull;
mod pushable;
pub(crate) mod rebalance;
pub(crate) mod resched_irq;
pub mod rq;
pub mod rt;
pub(crate) mod runqueue;
pub mod select;
pub mod smp;
mod special;
pub mod stop;
mod timeline;
pub mod tunables;
pub mod wait;
pub(crate) mod wake_list;
mod wakeup;
mod wakeup_smp;
pub mod watch;

#[cfg(test)]
mod tests;

pub use affinity::{MigrateGuard, migrate_disable};
pub use class::{Class, DequeueFlags, EnqueueFlags, Resched, WakeFlags};
pub use entity::{OnRq, SchedRef, SchedTask};
pub use prio::{Policy, PrioError, SchedAttr};
pub use rq::{Interval, Rq};
pub use tunables::Tunables;
