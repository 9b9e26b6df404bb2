//! From the first Rust instruction to `start_kernel`.
//!
//! Invariant: the order of the steps is the order of what they need. Until the final page tables are
//! live only the early console may be used, nothing is allocated, and a failure ends in a message.
//!
//! Context: the boot CPU, on the boot stack, all interrupts masked.

use crate::bootargs::Bootargs;
use crate::drivers::fdt::{self, Tree};
use crate::drivers::{early, machine};
use crate::{early_println, power};
use arch::boot;
use arch::mmu::PhysAddr;

/// A board's console before the device tree is known, chosen by where the loader put the image.
#[repr(C)]
pub struct BoardFacts {
    /// The row holds for images at this physical address or above; the last row has 0.
    pub image_from: u64,
    /// Physical address of a PL011.
    pub uart: u64,
    /// Clock of its baud rate divisor.
    pub uart_clock_hz: u64,
}

unsafe extern "Rust" {
    /// From the board crate; boot.S reads it too.
    safe static STINT_BOARD_FACTS: [BoardFacts; 2];
}

/// Entered from boot.S with MMU and caches on, on the early tables.
#[unsafe(no_mangle)]
extern "C" fn stint_boot(dtb: u64, image: u64, boot_el: u64) -> ! {
    boot::set_image_phys(PhysAddr(image));
    fallback_console(image);
    let tree = open_tree(dtb);
    if let Some(uart) = machine::console(&tree) {
        early_println!("uart {:x?}", uart);
    }
    let bootargs = Bootargs::parse(machine::bootargs(&tree));
    power::set_method(bootargs.exit, machine::psci(&tree));
    early_println!("stint: {} {:?} EL{boot_el} image {image:#x} dtb {dtb:#x}", machine::model(&tree), machine::BoardKind::of(&tree));
    early_println!("{:x?} {:?}", machine::gic(&tree), machine::psci(&tree));
    early_println!("{:?} {:?}", machine::virtual_timer(&tree), machine::pmu_interrupt(&tree, 0));
    let _ = machine::memory(&tree, &mut |r| early_println!("memory {:#x} {:#x}", r.start, r.bytes));
    machine::reserved(&tree, &mut |r, no_map| early_println!("reserved {:#x} {:#x} {no_map}", r.start, r.bytes));
    machine::cpus(&tree, &mut |a| early_println!("cpu {:#x}", a));
    for m in &bootargs.messages {
        early_println!("bootargs: {m}");
    }
    early_println!("{} {} Hz", arch::cpu::cpu_name(), arch::timer::freq_hz());
    let range = machine::PhysRange { start: dtb, bytes: tree.blob().len() as u64 };
    match crate::mm::init(&tree, range) {
        Ok(info) => early_println!("{info:?} {:?}", crate::mm::stats()),
        Err(e) => { early_println!("stint: {e}"); power::boot_failed() }
    }
    {
        use alloc::vec::Vec;
        let mut v: Vec<u64> = Vec::new();
        for i in 0..100000 { v.push(i); }
        early_println!("sum {}", v.iter().sum::<u64>());
        let mut stacks: Vec<crate::mm::stack::Stack> = Vec::new();
        for i in 0..300 { stacks.push(crate::mm::stack::Stack::new(16384).unwrap()); unsafe { ((stacks[i].top() - 8) as *mut u64).write_volatile(5); (stacks[i].bottom() as *mut u64).write_volatile(5); } }
        early_println!("{:?} {:x?}", crate::mm::stack::owner_of(stacks[7].bottom() - 8), stacks[7].bottom());
        early_println!("{:?}", crate::mm::stats());
        drop(stacks);
        crate::mm::stack::trim();
        let s = crate::mm::stack::Stack::new(8192).unwrap();
        let b = s.bottom();
        drop(s);
        crate::mm::stack::trim();
        early_println!("{:?} {:x}", crate::mm::stats(), b);
        if bootargs.test == Some("text") { unsafe { (stint_boot as *mut u32).write_volatile(0) } }
        if bootargs.test == Some("alias") { unsafe { (arch::mmu::linear(boot::image_to_phys(stint_boot as *const () as usize)) as *mut u32).write_volatile(0) } }
        if bootargs.test == Some("exec") { let f: extern "C" fn() = unsafe { core::mem::transmute(v.as_ptr()) }; f() }
        if bootargs.test == Some("guard") { unsafe { ((boot::boot_stack().0 - 8) as *mut u64).write_volatile(0) } }
        if bootargs.test == Some("low") { unsafe { (0x40080000 as *mut u64).read_volatile(); } }
        if bootargs.test == Some("freed") { unsafe { (b as *mut u64).read_volatile(); } }
    }
    power::exit(0)
}

fn fallback_console(image: u64) {
    let facts = STINT_BOARD_FACTS.iter().find(|f| image >= f.image_from);
    if let Some(facts) = facts {
        let base = boot::early_ioremap(0, PhysAddr(facts.uart));
        // SAFETY: the board crate says there is a PL011; slot 0 stays mapped.
        unsafe { early::set_base(base) };
        early::enable(facts.uart_clock_hz as u32);
    }
}

fn open_tree(dtb: u64) -> Tree<'static> {
    let reason: &dyn core::fmt::Display = match find_tree(dtb) {
        Ok(tree) => return tree,
        Err(None) => &"nothing can be read there",
        Err(Some(ref error)) => &{ error.clone() },
    };
    early_println!(
        "stint: no device tree: x0 = {dtb:#x}: {reason}; expected a flattened device tree (magic d00dfeed)"
    );
    power::boot_failed()
}

/// The tree at physical `dtb`; `Err(None)` if there is no memory to be read.
fn find_tree(dtb: u64) -> Result<Tree<'static>, Option<fdt::FdtError>> {
    if dtb == 0 || dtb % 4 != 0 || dtb >> arch::mmu::LINEAR_BITS != 0 {
        return Err(None);
    }
    let start = arch::mmu::linear(PhysAddr(dtb)) as *const u8;
    let mut head = [0u8; 8];
    for (i, word) in head.chunks_exact_mut(4).enumerate() {
        // SAFETY: boot.S mapped the block of `dtb` and the next; a missing memory answers `None`.
        let value = unsafe { boot::probe_read32(start.cast::<u32>().add(i)) }.ok_or(None)?;
        word.copy_from_slice(&value.to_le_bytes());
    }
    let bytes = fdt::blob_bytes(&head).map_err(Some)?;
    // SAFETY: at most 2 MiB from `start` are mapped (two blocks of 2 MiB, `start` in the first); the
    // loader put a device tree there, which nobody writes: it is kept out of the page allocator.
    let blob = unsafe { core::slice::from_raw_parts(start, bytes) };
    Tree::open(blob).map_err(Some)
}

/// A fault before the real vectors are installed.
#[unsafe(no_mangle)]
extern "C" fn stint_early_fault(esr: u64, elr: u64, far: u64) -> ! {
    early_println!("stint: fault while booting: ESR {esr:#x} ELR {elr:#x} FAR {far:#x}");
    power::boot_failed()
}
