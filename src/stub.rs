//! Stand-ins for parts written elsewhere.
#![allow(missing_docs, reason = "stand-ins")]

#[repr(C, align(64))]
pub struct Task([u8; 4096]);
#[unsafe(no_mangle)]
pub static mut init_task: Task = Task([0; 4096]);

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    crate::early_println!("panic: {}", info);
    crate::power::exit(101)
}

