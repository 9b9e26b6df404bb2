//! Cross-CPU calls (`src/smp/call.rs`). The list is the kernel's; the rest stands for its lines:
//!
//! | here | there |
//! |---|---|
//! | `Place`, its `argument` | `Waited` and `Call` on the caller's stack, and what the function refers to |
//! | `call` | `call_function_single` |
//! | `run` | `run`, `run_waited`: the function, then `left.fetch_sub(1, Release)`, and nothing behind it |
//! | `Cpu::told` | the interrupt: pending until it is taken, and what was stored before it is sent is seen by its handler |

use super::llist::{LlistHead, LlistNode};
use super::sync::{AtomicU32, Ordering, relax};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::Notify;
use loom::thread;

struct Cpu {
    calls: LlistHead,
    /// Ordered in every world: that is the interrupt controller's, not the protocol's.
    told: Notify,
}

impl Cpu {
    fn online() -> Arc<Self> {
        let cpu = Self { calls: LlistHead::new_closed(), told: Notify::new() };
        cpu.calls.open();
        Arc::new(cpu)
    }
}

#[repr(C)]
struct Place {
    node: LlistNode,
    left: AtomicU32,
    argument: UnsafeCell<u32>,
}

/// Whether it was run; false if the CPU was offline.
fn call(cpu: &Cpu) -> bool {
    let place = Place { node: LlistNode::new(), left: AtomicU32::new(1), argument: UnsafeCell::new(0) };
    // SAFETY: in the model: loom checks it.
    place.argument.with_mut(|argument| unsafe { *argument = 7 });
    // SAFETY: the place stays until `left` is zero.
    match unsafe { cpu.calls.push(&place.node) } {
        Ok(true) => cpu.told.notify(),
        Ok(false) => {}
        Err(_) => return false,
    }
    while place.left.load(Ordering::Acquire) != 0 {
        relax();
    }
    // What the function did is seen, and the stack is the caller's again.
    // SAFETY: as above.
    assert_eq!(place.argument.with_mut(|argument| unsafe { core::mem::replace(&mut *argument, 0) }), 8);
    true
}

fn run(items: impl Iterator<Item = *const LlistNode>) -> u32 {
    let mut runs = 0;
    for node in items {
        // SAFETY: only places are pushed, the node is their first member, and they stay until `left` is zero.
        let place = unsafe { &*node.cast::<Place>() };
        // SAFETY: in the model: loom checks it.
        place.argument.with_mut(|argument| unsafe { *argument += 1 });
        place.left.fetch_sub(1, Ordering::Release);
        runs += 1;
    }
    runs
}

/// Two CPUs leave something for a third, one of them waits: whichever finds the list empty tells it. (Two that wait would
/// only wait for each other's turns.)
pub fn two_callers() {
    let cpu = Cpu::online();
    let posted =
        Arc::new(Place { node: LlistNode::new(), left: AtomicU32::new(1), argument: UnsafeCell::new(0) });
    let poster = {
        let (cpu, posted) = (cpu.clone(), posted.clone());
        thread::spawn(move || {
            // SAFETY: in the model: loom checks it.
            posted.argument.with_mut(|argument| unsafe { *argument = 7 });
            // SAFETY: it stays until all are gone.
            if unsafe { cpu.calls.push(&posted.node) } == Ok(true) {
                cpu.told.notify();
            }
        })
    };
    let caller = {
        let cpu = cpu.clone();
        thread::spawn(move || assert!(call(&cpu)))
    };
    let mut runs = 0;
    while runs < 2 {
        // A lost interrupt is a deadlock of the model.
        cpu.told.wait();
        runs += run(cpu.calls.take_all());
    }
    caller.join().unwrap();
    poster.join().unwrap();
    // SAFETY: all are gone.
    assert_eq!(posted.argument.with(|argument| unsafe { *argument }), 8);
}

/// A CPU is called while it goes offline.
pub fn one_goes() {
    let cpu = Cpu::online();
    let caller = {
        let cpu = cpu.clone();
        thread::spawn(move || call(&cpu))
    };
    let mut runs = run(cpu.calls.take_all());
    runs += run(cpu.calls.close());
    assert_eq!(caller.join().unwrap(), runs == 1, "run and refused, or neither");
    assert!(!call(&cpu), "a CPU that has gone was called");
}
