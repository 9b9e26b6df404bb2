//! A periodic control loop: 1 kHz, on a fixed grid, with its records handed to a task that has time.
//!
//! The loop is FIFO 80 and keeps its grid with a `Periodic`: it reads a sensor, computes, drives an actuator, and sends a record into a message
//! queue without ever waiting. A fair task takes the records out and prints some. If the printing is slow
//! the queue fills and records are lost, and counted; the loop is never late because of it.
//!
//! The "plant" is a tank of water that is heated and cools down, in integers.
#![no_std]
#![no_main]

use stint::ipc::MsgQueue;
use stint::task;
use stint::time::{Periodic, now_ns};
use stint::{kprintln, power};

stint_board::entry!(main);

const PERIOD_MS: u64 = 1;
const STEPS: u32 = 2000;
const PRINT_EVERY: u32 = 200;
/// Thousandths of a degree.
const TARGET: i64 = 60_000;
const ROOM: i64 = 20_000;

/// What the loop tells about a step.
#[derive(Clone, Copy)]
struct Record {
    step: u32,
    temperature: i64,
    heat: i64,
    late_ns: u64,
}

static RECORDS: MsgQueue<Record, 64> = MsgQueue::new();

fn main() {
    let control = task::build("control").fifo(80).spawn(control).expect("a task for the loop");
    let printer = task::build("printer").spawn(print_records).expect("a task to print");
    let (worst_ns, missed, lost) = control.join().expect("the loop returns");
    printer.join();
    kprintln!(
        "{STEPS} steps of {PERIOD_MS} ms; the worst began {worst_ns} ns late, {missed} were missed; {lost} records were lost"
    );
    power::exit(0)
}

/// Returns the latest start, how many points of the grid found the loop still at work, and how many records
/// found the queue full.
fn control() -> (u64, u64, u32) {
    let (mut temperature, mut integral) = (ROOM, 0i64);
    let (mut worst_ns, mut missed, mut lost) = (0, 0, 0);
    // Its points are absolute times: a late step does not move the next one.
    let mut period = Periodic::ms(PERIOD_MS);
    for step in 0..STEPS {
        missed += period.wait();
        let late_ns = now_ns() - period.due_ns();
        worst_ns = worst_ns.max(late_ns);

        let error = TARGET - temperature;
        integral = (integral + error).clamp(-4_000_000, 4_000_000);
        let heat = (error / 20 + integral / 5000).clamp(0, 1000);
        temperature += heat - (temperature - ROOM) / 80;

        if RECORDS.try_put(Record { step, temperature, heat, late_ns }).is_err() {
            lost += 1;
        }
    }
    // The last record ends the printer; for that one it may wait.
    RECORDS.put(Record { step: STEPS, temperature, heat: 0, late_ns: 0 });
    (worst_ns, missed, lost)
}

fn print_records() {
    loop {
        let record = RECORDS.get();
        if record.step == STEPS {
            return;
        }
        if record.step.is_multiple_of(PRINT_EVERY) {
            kprintln!(
                "step {:>5}: {:>3}.{:03} degrees, heat {:>4}, {:>6} ns late",
                record.step,
                record.temperature / 1000,
                record.temperature % 1000,
                record.heat,
                record.late_ns
            );
        }
    }
}
