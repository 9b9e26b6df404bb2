//! Stand-ins for parts written elsewhere.
#![allow(missing_docs, reason = "stand-ins")]

use crate::boot_info::BootInfo;
use crate::bootargs::Bootargs;
use crate::drivers::{console, irqchip};
use crate::{klog, kprintln, mm, power};

#[repr(C, align(64))]
pub struct Task([u8; 4096]);
#[unsafe(no_mangle)]
pub static mut init_task: Task = Task([0; 4096]);

pub fn apply_patches(_: &Bootargs, _: usize) {}
pub fn irq_stacks() {}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    klog::drain_panic();
    crate::early_println!("panic: {}", info);
    power::exit(101)
}

/// Shows that the pieces work, without interrupts being taken: everything is polled.
pub fn start_kernel(info: &'static BootInfo) -> ! {
    kprintln!("{info:#x?}");
    log::info!("logged at info");
    log::debug!("logged at debug");
    klog::drain();
    kprintln!("{:?}", mm::stats());
    let expect = |what: &str, want: u32| {
        let raw = irqchip::ack();
        let got = irqchip::intid(raw);
        if got < irqchip::SPURIOUS_FROM {
            irqchip::eoi(raw);
        }
        kprintln!("{what}: {got} {}", if got == want { "ok" } else { "WRONG" });
    };
    let cpu = info.boot_cpu;
    expect("nothing pending", 1023);
    irqchip::send_sgi_self(5);
    expect("sgi 5 to self", 5);
    irqchip::send_sgi(cpu, 3);
    expect("sgi 3 to me", 3);
    expect("nothing pending", 1023);
    irqchip::enable(cpu, info.timer_interrupt.intid, irqchip::PRIORITY_DEFAULT);
    let start = arch::timer::counter();
    arch::timer::set_compare(start + info.timer_hz / 100);
    arch::cpu::wait_for_interrupt();
    let late = arch::timer::counter() - start;
    kprintln!("woke {}", if late >= info.timer_hz / 100 { "ok" } else { "EARLY" });
    let raw = irqchip::ack();
    arch::timer::stop();
    irqchip::eoi(raw);
    kprintln!("timer {} {}", irqchip::intid(raw), if irqchip::intid(raw) == info.timer_interrupt.intid { "ok" } else { "WRONG" });
    expect("nothing pending", 1023);
    let uart = info.uart.interrupt.unwrap();
    irqchip::set_trigger(cpu, uart.intid, uart.edge);
    irqchip::set_trigger(cpu, 40, true);
    irqchip::enable(cpu, 40, 0x80);
    irqchip::enable(cpu, 41, 0x40);
    irqchip::set_trigger(cpu, 41, true);
    irqchip::set_pending(cpu, 40);
    irqchip::set_pending(cpu, 41);
    expect("the more urgent first", 41);
    expect("then the other", 40);
    irqchip::disable(cpu, 40);
    irqchip::set_pending(cpu, 40);
    expect("disabled", 1023);
    irqchip::enable(cpu, uart.intid, irqchip::PRIORITY_DEFAULT);
    console::enable_rx_interrupt();
    if let Some(pmu) = info.pmu_interrupt { irqchip::enable(cpu, pmu.intid, 0x20); irqchip::set_pending(cpu, pmu.intid); expect("pmu", pmu.intid); }
    {
        use alloc::vec::Vec;
        let before = mm::stats();
        let mut v: Vec<u64> = Vec::new();
        for i in 0..100_000 { v.push(i); }
        let stacks: Vec<_> = (0..300).map(|_| mm::stack::Stack::new(16384).unwrap()).collect();
        for s in &stacks {
            // SAFETY: within a fresh stack.
            unsafe { ((s.top() - 8) as *mut u64).write_volatile(5); (s.bottom() as *mut u64).write_volatile(5); }
        }
        kprintln!("{:x?}", mm::stack::owner_of(stacks[7].bottom() - 8));
        kprintln!("{:x?}", mm::stack::owner_of(stacks[0].bottom() - 8));
        kprintln!("{:x?}", mm::stack::owner_of(arch::boot::boot_stack().0 - 8));
        drop((stacks, v));
        kprintln!("{:?}", mm::stack::Stack::new(65537).map_err(|e| alloc::format!("{e}")));
        mm::stack::trim();
        let after = mm::stats();
        kprintln!("{before:?}\n{after:?}");
        let big: Vec<u8> = Vec::with_capacity(8 << 20);
        kprintln!("{:?} {}", mm::stats().heap, big.capacity());
        let mut huge: Vec<u8> = Vec::new();
        kprintln!("{:?}", huge.try_reserve(1 << 40));
    }
    if info.bootargs.noshell {
        power::exit(0)
    }
    kprintln!("echo; q ends");
    loop {
        let raw = irqchip::ack();
        if irqchip::intid(raw) == uart.intid {
            console::rx_interrupt(0);
            irqchip::eoi(raw);
        }
        while let Some(byte) = console::read_byte() {
            console::write_bytes(&[byte]);
            if byte == b'q' {
                kprintln!();
                power::exit(7)
            }
        }
    }
}
