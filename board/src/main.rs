//! The default image: the demonstration and the shell.
#![no_std]
#![no_main]
extern crate alloc;
use stint::kprintln as p;
stint_board::entry!(main);
use stint::{task,locking::Semaphore,time,locking::Mutex,ipc::MsgQueue};
static S: Semaphore = Semaphore::new(0);
static M: Mutex<u32> = Mutex::new(0);
static Q: MsgQueue<u32, 4> = MsgQueue::new();
fn main() {
    p!("main runs, now {}", time::now_ns());
    let h = task::build("hi").fifo(50).spawn(|| { for i in 0..3 { S.take(); p!("hi got {i}"); } 42 }).unwrap();
    for _ in 0..3 { S.give().unwrap(); p!("gave"); }
    p!("join {:?}", h.join());
    let t0 = time::now_ns();
    task::sleep_ms(5);
    p!("slept {}", time::now_ns() - t0);
    let c = task::build("consumer").rr(10).spawn(|| { let mut s = 0; for _ in 0..10 { s += Q.get(); *M.lock() += 1; } s }).unwrap();
    for i in 0..10 { Q.put(i); }
    p!("sum {:?} m {}", c.join(), *M.lock());
    let spin = |n: u64| move || { let t = time::now_ns(); while time::now_ns() - t < n {} };
    let a = task::build("a").spawn(spin(50_000_000)).unwrap();
    let b = task::build("b").nice(5).spawn(spin(50_000_000)).unwrap();
    a.join(); b.join();
    p!("take timeout {:?}", S.take_timeout(stint::sched::wait::Timeout::In(1_000_000)));
    task::for_each(|t| p!("{:?}", t.info()));
    stint::power::exit(0)
}
