//! What can be traced: the events, their names, and how they lie in a ring.
//!
//! Names and fields are Linux's (docs/tracing.md has the table, and what differs). In a ring an event is its [`Kind`] and three
//! words; `Event::pack` and `Event::unpack` are each other's inverse. A task is its number, the idle tasks being all 0, as in
//! Linux.
//!
//! Context: any; pure.
#![forbid(unsafe_code)]

pub use super::kind::{Kind, KindSet, SELECTORS};
use core::fmt;

/// The state in which a task was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// `R+`: it was preempted; it is ready, whatever its state says.
    Preempted,
    /// `R`: it yielded, or was woken on its way to sleep.
    Ready,
    /// `S`: it sleeps, interruptibly.
    Sleeping,
    /// `D`: it sleeps until it gets what it waits for.
    Blocked,
    /// `I`: it waits for an event, which may never come.
    Idle,
    /// `X`: it has ended.
    Dead,
}

const LEFT: [Left; 6] = [Left::Preempted, Left::Ready, Left::Sleeping, Left::Blocked, Left::Idle, Left::Dead];

impl Left {
    /// As ftrace writes it.
    #[must_use]
    pub const fn letters(self) -> &'static str {
        match self {
            Self::Preempted => "R+",
            Self::Ready => "R",
            Self::Sleeping => "S",
            Self::Blocked => "D",
            Self::Idle => "I",
            Self::Dead => "X",
        }
    }
}

/// What happened. The task that ran, the CPU and the time are the record's (`Entry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `prev`, which ran, gave way to `next`.
    SchedSwitch {
        /// Left.
        prev: u32,
        /// Its kernel priority.
        prev_prio: i32,
        /// Why it does not run any more.
        left: Left,
        /// Runs now.
        next: u32,
        /// Its kernel priority.
        next_prio: i32,
    },
    /// A task is being woken, by the code that runs here.
    SchedWaking {
        /// The task.
        task: u32,
        /// Its kernel priority.
        prio: i32,
        /// Where it slept.
        cpu: u32,
    },
    /// A task is ready on a CPU.
    SchedWakeup {
        /// The task.
        task: u32,
        /// Its kernel priority.
        prio: i32,
        /// Where it is queued.
        cpu: u32,
    },
    /// A new task is ready for the first time.
    SchedWakeupNew {
        /// The task.
        task: u32,
        /// Its kernel priority.
        prio: i32,
        /// Where it is queued.
        cpu: u32,
    },
    /// A task goes to another CPU.
    SchedMigrateTask {
        /// The task.
        task: u32,
        /// Its kernel priority.
        prio: i32,
        /// From here.
        from: u32,
        /// To there.
        to: u32,
    },
    /// A lock that a task holds, or has given back, changes its priority.
    SchedPiSetprio {
        /// The task.
        task: u32,
        /// Its kernel priority.
        old_prio: i32,
        /// What it is now.
        new_prio: i32,
    },
    /// The running task starts another one.
    SchedProcessFork {
        /// The new task.
        child: u32,
    },
    /// The running task ends.
    SchedProcessExit {
        /// Its kernel priority.
        prio: i32,
    },
    /// A handler is called.
    IrqHandlerEntry {
        /// The interrupt.
        irq: u32,
    },
    /// It has returned.
    IrqHandlerExit {
        /// The interrupt.
        irq: u32,
        /// Whether it was its device.
        handled: bool,
    },
    /// A softirq is to run.
    SoftirqRaise {
        /// Which.
        vector: u32,
    },
    /// Its function is called.
    SoftirqEntry {
        /// Which.
        vector: u32,
    },
    /// It has returned.
    SoftirqExit {
        /// Which.
        vector: u32,
    },
    /// CPUs are interrupted.
    IpiRaise {
        /// A bit for each.
        cpus: u64,
        /// What for (`smp::ipi`).
        ipi: u32,
    },
    /// This CPU was interrupted.
    IpiEntry {
        /// What for.
        ipi: u32,
    },
    /// It has done what was asked for.
    IpiExit {
        /// What for.
        ipi: u32,
    },
    /// A timer is started, or moved.
    HrtimerStart {
        /// Its address.
        timer: u64,
        /// Its callback's.
        function: u64,
        /// When it is due, on the monotonic clock.
        expires_ns: u64,
        /// It expires in the softirq, not in the interrupt.
        soft: bool,
    },
    /// A pending timer is taken back.
    HrtimerCancel {
        /// Its address.
        timer: u64,
    },
    /// A timer's callback is called.
    HrtimerExpireEntry {
        /// Its address.
        timer: u64,
        /// Its callback's.
        function: u64,
        /// The time, on the monotonic clock.
        now_ns: u64,
    },
    /// It has returned.
    HrtimerExpireExit {
        /// The timer's address; it may be gone.
        timer: u64,
    },
    /// Interrupts are masked.
    IrqDisable(Section),
    /// They are about to be open.
    IrqEnable(Section),
    /// Preemption is off.
    PreemptDisable(Section),
    /// It is about to be on.
    PreemptEnable(Section),
    /// The running task begins to wait for a lock.
    ContentionBegin {
        /// The lock's address.
        lock: u64,
        /// Linux's `LCB_F_` bits.
        flags: u32,
    },
    /// It has the lock, or has given up.
    ContentionEnd {
        /// The lock's address.
        lock: u64,
        /// 0, or Linux's error number.
        ret: i32,
    },
    /// This CPU waits for an interrupt ([`WAITS`]), or has got one ([`NOT_IDLE`]).
    CpuIdle {
        /// Which.
        state: u32,
    },
}

/// Where a section begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// The instruction that changes the mask or the count.
    pub caller: u64,
    /// The return address of its function; 0 where there is none.
    pub parent: u64,
}

/// [`Event::CpuIdle`]: this CPU waits in its one idle state.
pub const WAITS: u32 = 1;
/// [`Event::CpuIdle`]: the wait is over.
pub const NOT_IDLE: u32 = u32::MAX;
/// [`Event::ContentionBegin`]: a spinning lock.
pub const LCB_F_SPIN: u32 = 1;
/// [`Event::ContentionBegin`]: a real-time mutex, with priority inheritance.
pub const LCB_F_RT: u32 = 8;
/// [`Event::ContentionBegin`]: a sleeping lock.
pub const LCB_F_MUTEX: u32 = 32;

/// Two numbers in a word.
const fn two(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// A number of 16 bits with a sign, in the bits from `at` on.
const fn small(value: i32, at: u32) -> u64 {
    ((value as u16) as u64) << at
}

const fn small_of(word: u64, at: u32) -> i32 {
    (word >> at) as u16 as i16 as i32
}

impl Event {
    /// How it lies in a ring.
    #[inline(always)]
    pub(super) const fn pack(self) -> (Kind, [u64; 3]) {
        match self {
            Self::SchedSwitch { prev, prev_prio, left, next, next_prio } => (
                Kind::SchedSwitch,
                [two(prev, next), small(prev_prio, 0) | small(next_prio, 16) | (left as u64) << 32, 0],
            ),
            Self::SchedWaking { task, prio, cpu } => (Kind::SchedWaking, [two(task, cpu), small(prio, 0), 0]),
            Self::SchedWakeup { task, prio, cpu } => (Kind::SchedWakeup, [two(task, cpu), small(prio, 0), 0]),
            Self::SchedWakeupNew { task, prio, cpu } => {
                (Kind::SchedWakeupNew, [two(task, cpu), small(prio, 0), 0])
            }
            Self::SchedMigrateTask { task, prio, from, to } => {
                (Kind::SchedMigrateTask, [task as u64, small(prio, 0), two(from, to)])
            }
            Self::SchedPiSetprio { task, old_prio, new_prio } => {
                (Kind::SchedPiSetprio, [task as u64, small(old_prio, 0) | small(new_prio, 16), 0])
            }
            Self::SchedProcessFork { child } => (Kind::SchedProcessFork, [child as u64, 0, 0]),
            Self::SchedProcessExit { prio } => (Kind::SchedProcessExit, [small(prio, 0), 0, 0]),
            Self::IrqHandlerEntry { irq } => (Kind::IrqHandlerEntry, [irq as u64, 0, 0]),
            Self::IrqHandlerExit { irq, handled } => (Kind::IrqHandlerExit, [irq as u64, handled as u64, 0]),
            Self::SoftirqRaise { vector } => (Kind::SoftirqRaise, [vector as u64, 0, 0]),
            Self::SoftirqEntry { vector } => (Kind::SoftirqEntry, [vector as u64, 0, 0]),
            Self::SoftirqExit { vector } => (Kind::SoftirqExit, [vector as u64, 0, 0]),
            Self::IpiRaise { cpus, ipi } => (Kind::IpiRaise, [cpus, ipi as u64, 0]),
            Self::IpiEntry { ipi } => (Kind::IpiEntry, [ipi as u64, 0, 0]),
            Self::IpiExit { ipi } => (Kind::IpiExit, [ipi as u64, 0, 0]),
            // Instructions are at multiples of four.
            Self::HrtimerStart { timer, function, expires_ns, soft } => {
                (Kind::HrtimerStart, [timer, function | soft as u64, expires_ns])
            }
            Self::HrtimerCancel { timer } => (Kind::HrtimerCancel, [timer, 0, 0]),
            Self::HrtimerExpireEntry { timer, function, now_ns } => {
                (Kind::HrtimerExpireEntry, [timer, function, now_ns])
            }
            Self::HrtimerExpireExit { timer } => (Kind::HrtimerExpireExit, [timer, 0, 0]),
            Self::IrqDisable(at) => (Kind::IrqDisable, [at.caller, at.parent, 0]),
            Self::IrqEnable(at) => (Kind::IrqEnable, [at.caller, at.parent, 0]),
            Self::PreemptDisable(at) => (Kind::PreemptDisable, [at.caller, at.parent, 0]),
            Self::PreemptEnable(at) => (Kind::PreemptEnable, [at.caller, at.parent, 0]),
            Self::ContentionBegin { lock, flags } => (Kind::ContentionBegin, [lock, flags as u64, 0]),
            Self::ContentionEnd { lock, ret } => (Kind::ContentionEnd, [lock, ret as u32 as u64, 0]),
            Self::CpuIdle { state } => (Kind::CpuIdle, [state as u64, 0, 0]),
        }
    }

    /// From the kind's number and the words of a ring; `None` for what no event is.
    pub(super) fn unpack(kind: u8, words: [u64; 3]) -> Option<Self> {
        let [a, b, c] = words;
        let (low, high) = (a as u32, (a >> 32) as u32);
        let section = Section { caller: a, parent: b };
        Some(match Kind::from_number(kind)? {
            Kind::SchedSwitch => Self::SchedSwitch {
                prev: low,
                prev_prio: small_of(b, 0),
                left: *LEFT.get((b >> 32) as usize)?,
                next: high,
                next_prio: small_of(b, 16),
            },
            Kind::SchedWaking => Self::SchedWaking { task: low, prio: small_of(b, 0), cpu: high },
            Kind::SchedWakeup => Self::SchedWakeup { task: low, prio: small_of(b, 0), cpu: high },
            Kind::SchedWakeupNew => Self::SchedWakeupNew { task: low, prio: small_of(b, 0), cpu: high },
            Kind::SchedMigrateTask => Self::SchedMigrateTask {
                task: low,
                prio: small_of(b, 0),
                from: c as u32,
                to: (c >> 32) as u32,
            },
            Kind::SchedPiSetprio => {
                Self::SchedPiSetprio { task: low, old_prio: small_of(b, 0), new_prio: small_of(b, 16) }
            }
            Kind::SchedProcessFork => Self::SchedProcessFork { child: low },
            Kind::SchedProcessExit => Self::SchedProcessExit { prio: small_of(a, 0) },
            Kind::IrqHandlerEntry => Self::IrqHandlerEntry { irq: low },
            Kind::IrqHandlerExit => Self::IrqHandlerExit { irq: low, handled: b != 0 },
            Kind::SoftirqRaise => Self::SoftirqRaise { vector: low },
            Kind::SoftirqEntry => Self::SoftirqEntry { vector: low },
            Kind::SoftirqExit => Self::SoftirqExit { vector: low },
            Kind::IpiRaise => Self::IpiRaise { cpus: a, ipi: b as u32 },
            Kind::IpiEntry => Self::IpiEntry { ipi: low },
            Kind::IpiExit => Self::IpiExit { ipi: low },
            Kind::HrtimerStart => {
                Self::HrtimerStart { timer: a, function: b & !1, expires_ns: c, soft: b & 1 != 0 }
            }
            Kind::HrtimerCancel => Self::HrtimerCancel { timer: a },
            Kind::HrtimerExpireEntry => Self::HrtimerExpireEntry { timer: a, function: b, now_ns: c },
            Kind::HrtimerExpireExit => Self::HrtimerExpireExit { timer: a },
            Kind::IrqDisable => Self::IrqDisable(section),
            Kind::IrqEnable => Self::IrqEnable(section),
            Kind::PreemptDisable => Self::PreemptDisable(section),
            Kind::PreemptEnable => Self::PreemptEnable(section),
            Kind::ContentionBegin => Self::ContentionBegin { lock: a, flags: b as u32 },
            Kind::ContentionEnd => Self::ContentionEnd { lock: a, ret: b as u32 as i32 },
            Kind::CpuIdle => Self::CpuIdle { state: low },
        })
    }

    /// What kind of event it is.
    #[must_use]
    pub const fn kind(self) -> Kind {
        self.pack().0
    }
}

/// In numbers alone: for a panic and the watchdog, which cannot look up names.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SchedSwitch { prev, left, next, .. } => {
                write!(f, "switch  task {prev} ({}) -> {next}", left.letters())
            }
            Self::SchedWakeup { task, prio, .. } => write!(f, "wake-up task {task} (prio {prio})"),
            Self::SchedWaking { task, .. } => write!(f, "waking  task {task}"),
            Self::SchedWakeupNew { task, prio, .. } => write!(f, "new     task {task} (prio {prio})"),
            Self::SchedMigrateTask { task, from, to, .. } => {
                write!(f, "migrate task {task}, CPU {from} -> {to}")
            }
            Self::SchedProcessFork { child } => write!(f, "fork    task {child}"),
            Self::IrqHandlerEntry { irq } | Self::IrqHandlerExit { irq, .. } => {
                write!(f, "{} {irq}", self.kind().name())
            }
            Self::SoftirqRaise { vector } | Self::SoftirqEntry { vector } | Self::SoftirqExit { vector } => {
                write!(f, "{} {vector}", self.kind().name())
            }
            Self::IpiRaise { ipi, .. } | Self::IpiEntry { ipi } | Self::IpiExit { ipi } => {
                write!(f, "{} {ipi}", self.kind().name())
            }
            _ => f.write_str(self.kind().name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Section = Section { caller: 0xffff_8000_1234_5678, parent: u64::MAX };

    /// One of each, with values at their ends.
    const EACH: [Event; 27] = [
        Event::SchedSwitch { prev: u32::MAX, prev_prio: -1, left: Left::Dead, next: 7, next_prio: 140 },
        Event::SchedWaking { task: 1, prio: -1, cpu: 63 },
        Event::SchedWakeup { task: 2, prio: 139, cpu: 0 },
        Event::SchedWakeupNew { task: u32::MAX, prio: 0, cpu: 5 },
        Event::SchedMigrateTask { task: 3, prio: 98, from: 63, to: 1 },
        Event::SchedPiSetprio { task: 4, old_prio: 120, new_prio: -1 },
        Event::SchedProcessFork { child: 5 },
        Event::SchedProcessExit { prio: -1 },
        Event::IrqHandlerEntry { irq: 1019 },
        Event::IrqHandlerExit { irq: 27, handled: true },
        Event::SoftirqRaise { vector: 8 },
        Event::SoftirqEntry { vector: 8 },
        Event::SoftirqExit { vector: 9 },
        Event::IpiRaise { cpus: u64::MAX, ipi: 3 },
        Event::IpiEntry { ipi: 0 },
        Event::IpiExit { ipi: 1 },
        Event::HrtimerStart {
            timer: AT.caller,
            function: 0xffff_8000_0000_0004,
            expires_ns: u64::MAX,
            soft: true,
        },
        Event::HrtimerCancel { timer: AT.caller },
        Event::HrtimerExpireEntry { timer: AT.caller, function: 0xffff_8000_0000_0004, now_ns: 9 },
        Event::HrtimerExpireExit { timer: AT.caller },
        Event::IrqDisable(AT),
        Event::IrqEnable(AT),
        Event::PreemptDisable(AT),
        Event::PreemptEnable(AT),
        Event::ContentionBegin { lock: AT.caller, flags: LCB_F_RT | LCB_F_MUTEX },
        Event::ContentionEnd { lock: AT.caller, ret: -110 },
        Event::CpuIdle { state: NOT_IDLE },
    ];

    #[test]
    fn every_event_comes_out_of_its_words_as_it_went_in() {
        for (event, kind) in EACH.into_iter().zip(Kind::all()) {
            let (packed, words) = event.pack();
            assert_eq!(packed, kind, "the table of kinds is in the order of their numbers");
            assert_eq!(Event::unpack(packed as u8, words), Some(event));
        }
    }

    #[test]
    fn every_reason_to_be_left_comes_out_as_it_went_in() {
        for left in LEFT {
            let event = Event::SchedSwitch { prev: 1, prev_prio: 2, left, next: 3, next_prio: 4 };
            let (kind, words) = event.pack();
            assert_eq!(Event::unpack(kind as u8, words), Some(event));
        }
    }

    #[test]
    fn words_that_are_no_event_are_none() {
        assert_eq!(Event::unpack(Kind::all().count() as u8, [0; 3]), None);
        assert_eq!(Event::unpack(Kind::SchedSwitch as u8, [0, 9 << 32, 0]), None);
    }
}
