//! Interrupts: a real SGI raised by the running low-priority thread, and the tick.

use crate::HIGH;
use crate::sample::{Bench, REPETITIONS, Stamp, WARM_UP, cycles, stamp_overhead};
use stint::locking::Semaphore;
use stint::{irq, task, time};

const ROUNDS: usize = REPETITIONS + WARM_UP;
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

fn with_handler(handler: irq::Handler, body: impl FnOnce() -> Bench) -> Bench {
    irq::request(SGI, handler, 0).expect("the SGI");
    let bench = body();
    irq::free(SGI);
    bench
}

#[inline(always)]
fn raise() {
    RAISED.now();
    stint::drivers::irqchip::send_sgi_self(SGI);
}

pub fn irq_to_isr() -> Bench {
    with_handler(stamping, || {
        let mut bench = Bench::with_overhead(stamp_overhead());
        for _ in 0..ROUNDS {
            raise();
            bench.add(IN_HANDLER.get() - RAISED.get());
        }
        bench
    })
}

pub fn isr_to_interrupted() -> Bench {
    with_handler(stamping, || {
        let mut bench = Bench::with_overhead(stamp_overhead());
        for _ in 0..ROUNDS {
            raise();
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
        for _ in 0..ROUNDS {
            raise();
        }
        waiter.join().expect("samples")
    })
}

/// A real-time thread reads the counter twice in a row, again and again; a gap between the two reads is a
/// tick interrupt from end to end. (Ticks that fall elsewhere are not counted.)
pub fn tick_irq() -> Bench {
    let mut bench = Bench::new();
    time::tick::restart_this_cpu();
    let mut taken = 0;
    while taken < ROUNDS {
        let start = cycles();
        let now = cycles();
        if now - start > 1 {
            bench.add(now - start);
            taken += 1;
        }
    }
    time::tick::stop_this_cpu();
    bench
}
