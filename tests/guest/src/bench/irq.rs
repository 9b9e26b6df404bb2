//! Interrupts: a real SGI raised by the running low-priority thread, and the tick.

use crate::HIGH;
use crate::sample::{Bench, REPETITIONS, Stamp, WARM_UP, cycles, stamp_overhead};
use arch::gic::v3;
use stint::drivers::irqchip;
use stint::irq::softirq::{Vector, open_softirq, raise_softirq_irqoff};
use stint::irq::{IrqFlags, IrqReturn};
use stint::locking::Semaphore;
use stint::{irq, task, time};

const ROUNDS: usize = REPETITIONS + WARM_UP;
/// Ticks are milliseconds apart, each some millions of instructions to emulate.
const TICKS: usize = 100 + WARM_UP;
/// A software-generated interrupt that nobody else uses.
const SGI: u32 = 8;

static RAISED: Stamp = Stamp::new();
static IN_HANDLER: Stamp = Stamp::new();
static WAKE: Semaphore = Semaphore::new(0);

fn stamping(_: usize) {
    IN_HANDLER.now();
}

fn waking(_: usize) {
    let _ = WAKE.give();
}

static GIVE_TOOK: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

fn waking_timed(_: usize) {
    let start = cycles();
    let _ = WAKE.give();
    GIVE_TOOK.store(cycles() - start, core::sync::atomic::Ordering::Relaxed);
}

/// Runs `body` while `handler` serves the SGI.
pub fn with_handler<T>(handler: irq::Handler, body: impl FnOnce() -> T) -> T {
    irq::request(SGI, handler, 0).expect("the SGI");
    let result = body();
    irq::free(SGI);
    result
}

/// The interrupt to this CPU, worked out beforehand: what is timed begins with the write that raises it.
pub fn prepared() -> v3::PreparedSgi {
    v3::prepare_sgi_self(SGI)
}

#[inline(always)]
fn raise(sgi: v3::PreparedSgi) {
    RAISED.now();
    v3::send_prepared(sgi);
}

pub fn irq_to_isr() -> Bench {
    with_handler(stamping, || {
        let sgi = prepared();
        let mut bench = Bench::with_overhead(stamp_overhead());
        for _ in 0..ROUNDS {
            raise(sgi);
            bench.add(IN_HANDLER.get() - RAISED.get());
        }
        bench
    })
}

pub fn isr_to_interrupted() -> Bench {
    with_handler(stamping, || {
        let sgi = prepared();
        let mut bench = Bench::with_overhead(stamp_overhead());
        for _ in 0..ROUNDS {
            raise(sgi);
            let now = cycles();
            bench.add(now - IN_HANDLER.get());
        }
        bench
    })
}

pub fn irq_to_thread() -> Bench {
    with_handler(waking, || {
        let waiter = task::build("high")
            .fifo(HIGH)
            .spawn(|| {
                let mut bench = Bench::with_overhead(stamp_overhead());
                for _ in 0..ROUNDS {
                    WAKE.take();
                    let now = cycles();
                    bench.add(now - RAISED.get());
                }
                bench
            })
            .expect("a thread");
        let sgi = prepared();
        for _ in 0..ROUNDS {
            raise(sgi);
        }
        waiter.join().expect("samples")
    })
}

/// The part of `irq_to_thread` that is the handler's `give`: the wake-up without the switch.
pub fn isr_give_wake() -> Bench {
    with_handler(waking_timed, || {
        let waiter =
            task::build("high").fifo(HIGH).spawn(|| (0..ROUNDS).for_each(|_| WAKE.take())).expect("a thread");
        let sgi = prepared();
        let mut bench = Bench::new();
        for _ in 0..ROUNDS {
            raise(sgi);
            bench.add(GIVE_TOOK.load(core::sync::atomic::Ordering::Relaxed));
        }
        waiter.join();
        bench
    })
}

/// A handler raises a softirq as its last act; the first instruction of the softirq's function.
pub fn softirq_raise_to_run() -> Bench {
    open_softirq(Vector::Spare, || IN_HANDLER.now());
    let raising = |_| {
        RAISED.now();
        raise_softirq_irqoff(Vector::Spare);
    };
    with_handler(raising, || {
        let sgi = prepared();
        let mut bench = Bench::with_overhead(stamp_overhead());
        for _ in 0..ROUNDS {
            v3::send_prepared(sgi);
            bench.add(IN_HANDLER.get() - RAISED.get());
        }
        bench
    })
}

/// A shared interrupt that no device has.
const SPI: u32 = 216;

/// A one-shot line whose driver is a thread above the interrupted one: from the write that makes it pending to the
/// first instruction of the driver's function.
pub fn irq_thread_wake() -> Bench {
    let served = |_| {
        IN_HANDLER.now();
        IrqReturn::Handled
    };
    let flags = IrqFlags::ONESHOT | IrqFlags::EDGE;
    let id = irq::request_threaded_irq(SPI, None, served, flags, "bench").expect("the SPI");
    let mut bench = Bench::with_overhead(stamp_overhead());
    for _ in 0..ROUNDS {
        let flags = arch::irqflags::local_irq_save();
        irqchip::set_pending(0, SPI);
        RAISED.now();
        // It is taken here.
        arch::irqflags::local_irq_restore(flags);
        bench.add(IN_HANDLER.get() - RAISED.get());
    }
    irq::free_irq(id).expect("it was requested");
    bench
}

/// A real-time thread reads the counter without a pause. A gap that is longer than a loop round is a tick
/// interrupt from end to end, plus that round, which is the shortest gap there is.
pub fn tick_irq() -> Bench {
    // Whoever is ready runs before, above all the log's drain: where locks are live, a tick looks for a CPU that could take
    // what waits.
    task::sleep_ns(10_000_000);
    let round = shortest_gap();
    let mut bench = Bench::with_overhead(round);
    time::tick::start_this_cpu();
    let mut taken = 0;
    let mut last = cycles();
    while taken < TICKS {
        let now = cycles();
        let gap = now - last;
        last = now;
        // No interrupt is that short, and no other way round the loop that long.
        if gap > round + 50 {
            bench.add(gap);
            taken += 1;
        }
    }
    time::tick::stop_this_cpu();
    bench
}

fn shortest_gap() -> u64 {
    let mut shortest = u64::MAX;
    let mut last = cycles();
    for _ in 0..REPETITIONS {
        let now = cycles();
        shortest = shortest.min(now - last);
        last = now;
    }
    shortest
}
