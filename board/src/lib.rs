//! What boots: the glue between the image and the kernel, and the facts of the boards.
#![no_std]

use stint::init::BoardFacts;

/// Consoles to complain on before, or without, a device tree. boot.S walks the rows too: the last one
/// must hold for every image.
#[unsafe(no_mangle)]
static STINT_BOARD_FACTS: [BoardFacts; 2] = [
    // QEMU `virt`: RAM begins at 1 GiB.
    BoardFacts {
        image_from: 0x4000_0000,
        uart: 0x0900_0000,
        uart_clock_hz: 24_000_000,
        core_clock_hz: 0,
        gpio: 0,
    },
    // Raspberry Pi 4: RAM begins at 0; the clocks are those of config.txt (`init_uart_clock`, `enable_uart`).
    BoardFacts {
        image_from: 0,
        uart: 0xfe20_1000,
        uart_clock_hz: 48_000_000,
        core_clock_hz: 500_000_000,
        gpio: 0xfe20_0000,
    },
];

/// Makes `$main` (a `fn()`) the body of the first thread.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn stint_main() {
            let main: fn() = $main;
            main()
        }
    };
}

#[doc(hidden)]
pub fn link() {}
