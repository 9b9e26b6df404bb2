//! How far a boot has come, for whoever has no more than a serial line, or a light, to look at.
//!
//! Every step has a number. When it is reached, a board with a light (`init::BoardFacts`) prints one character: the boots
//! of such a board begin with `123456789A` in one line. A boot that cannot go on repeats the number of the last step
//! that was reached with the light, for ever: a long one for every five, a short one for each of the rest, a pause. So
//! does a panic later on, with [`Step::Panic`]. A boot that hangs leaves the light on.
//!
//! The first three steps are in boot.S, before there is memory to write to; an exception there is blinked as well. Boards
//! without a light (QEMU `virt`) pay a test of a word that is 0 for each step, and print nothing.
//!
//! Context: the boot CPU while booting; `repeat` any. No locks.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// A step that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The kernel's first instructions run; UART and pins are set up.
    Entered = 1,
    /// At EL1, with every register set that firmware may have left anyhow.
    El1 = 2,
    /// The early page tables are made.
    Tables = 3,
    /// MMU and caches are on, and Rust runs.
    Mapped = 4,
    /// There is a device tree.
    Tree = 5,
    /// It names a console, an interrupt controller and CPUs; the text is patched for them.
    Described = 6,
    /// The final page tables, page allocator and heap.
    Memory = 7,
    /// The console's driver.
    Console = 8,
    /// Interrupt controller and timer.
    Interrupts = 9,
    /// The boot CPU is about to schedule: the end of the ladder.
    Scheduler = 10,
    /// Not a step: the kernel has panicked.
    Panic = 11,
}

impl Step {
    /// The character that is printed.
    fn character(self) -> u8 {
        b" 123456789AP"[usize::from(self as u8)]
    }
}

/// Milliseconds of light, and of dark behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blink {
    /// On.
    pub on_ms: u32,
    /// Off.
    pub off_ms: u32,
}

const SHORT_MS: u32 = 200;
const LONG_MS: u32 = 800;
const BETWEEN_MS: u32 = 300;
const PAUSE_MS: u32 = 2000;

/// The blinks of a number, once.
pub fn blinks(number: u8) -> impl Iterator<Item = Blink> {
    let (long, all) = (number / 5, number / 5 + number % 5);
    (0..all).map(move |i| Blink {
        on_ms: if i < long { LONG_MS } else { SHORT_MS },
        off_ms: if i + 1 == all { PAUSE_MS } else { BETWEEN_MS },
    })
}

/// Virtual address of the GPIO block; 0: there is no light.
static GPIO: AtomicUsize = AtomicUsize::new(0);
/// The last step.
static REACHED: AtomicU8 = AtomicU8::new(Step::Tables as u8);

/// Offsets of the registers for pins 32 and up; a one sets (clears) its pin, a zero changes nothing.
const GPSET1: usize = 0x20;
const GPCLR1: usize = 0x2c;

/// There is a light from now on.
///
/// # Safety
/// `base` is a BCM2711's GPIO block, and stays mapped; the light's pin is an output.
#[cfg(target_os = "none")]
pub(crate) unsafe fn set_light(base: *mut u8) {
    GPIO.store(base as usize, Ordering::Relaxed);
}

/// Pins 14 and 15 become the mini UART's: function 5 (0b010) instead of the PL011's.
///
/// # Safety
/// There is a light, and nobody else changes functions of pins.
#[cfg(target_os = "none")]
pub(crate) unsafe fn give_pins_to_mini_uart() {
    const GPFSEL1: usize = 0x04;
    let register = (GPIO.load(Ordering::Relaxed) + GPFSEL1) as *mut u32;
    // SAFETY: by contract.
    unsafe { register.write_volatile(register.read_volatile() & !(0o77 << 12) | 0o22 << 12) };
}

/// A step is reached. While booting.
#[cfg(target_os = "none")]
pub(crate) fn reached(step: Step) {
    REACHED.store(step as u8, Ordering::Relaxed);
    if GPIO.load(Ordering::Relaxed) == 0 {
        return;
    }
    crate::drivers::early::write_raw(step.character());
    if step == Step::Scheduler {
        crate::drivers::early::write_text("\n");
        REACHED.store(Step::Panic as u8, Ordering::Relaxed);
        light(false);
    }
}

/// Ends the line of characters, for a message.
#[cfg(target_os = "none")]
pub(crate) fn end_line() {
    if GPIO.load(Ordering::Relaxed) != 0 && REACHED.load(Ordering::Relaxed) != Step::Panic as u8 {
        crate::drivers::early::write_text("\n");
    }
}

/// Repeats the last step with the light, for ever; without a light the CPU stops. Any context; masks everything.
#[cfg(target_os = "none")]
pub(crate) fn repeat() -> ! {
    arch::irqflags::mask_all();
    if GPIO.load(Ordering::Relaxed) == 0 {
        arch::psci::stop();
    }
    loop {
        for blink in blinks(REACHED.load(Ordering::Relaxed)) {
            light(true);
            delay_ms(blink.on_ms);
            light(false);
            delay_ms(blink.off_ms);
        }
    }
}

#[cfg(target_os = "none")]
fn light(on: bool) {
    let register = GPIO.load(Ordering::Relaxed) + if on { GPSET1 } else { GPCLR1 };
    // SAFETY: whoever set the base vouched for it, and it is not 0 (checked by the callers). One pin changes.
    unsafe { (register as *mut u32).write_volatile(1 << (arch::boot::LIGHT_PIN - 32)) };
}

/// Waits. Bounded by turns as well: the timer may be what is wrong.
#[cfg(target_os = "none")]
fn delay_ms(ms: u32) {
    /// More than a turn with its two reads can be of a millisecond.
    const TURNS_PER_MS: u64 = 50_000;
    let start = arch::timer::counter();
    let ticks = u64::from(ms) * arch::timer::freq_hz() / 1000;
    for _ in 0..u64::from(ms) * TURNS_PER_MS {
        if ticks != 0 && arch::timer::counter().wrapping_sub(start) >= ticks {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// What eyes see: `-` long, `.` short.
    fn seen(number: u8) -> std::string::String {
        blinks(number).map(|blink| if blink.on_ms > 2 * SHORT_MS { '-' } else { '.' }).collect()
    }

    #[test]
    fn every_five_is_a_long_one_and_the_rest_are_short() {
        let all: Vec<_> = (1..=11).map(seen).collect();
        assert_eq!(all, [".", "..", "...", "....", "-", "-.", "-..", "-...", "-....", "--", "--."]);
    }

    #[test]
    fn only_the_last_blink_has_a_pause_behind_it() {
        for number in 1..=11 {
            let blinks: Vec<_> = blinks(number).collect();
            let pauses: Vec<_> = blinks.iter().map(|blink| blink.off_ms == PAUSE_MS).collect();
            let last = blinks.len() - 1;
            assert!(pauses.iter().enumerate().all(|(i, &pause)| pause == (i == last)), "{number}");
        }
        // A pause is longer than anything else, or nobody could tell where the number begins.
        const { assert!(PAUSE_MS > 2 * LONG_MS) };
    }

    #[test]
    fn no_two_steps_have_one_character() {
        let steps = [Step::Entered, Step::El1, Step::Tables, Step::Mapped, Step::Tree, Step::Described];
        let more = [Step::Memory, Step::Console, Step::Interrupts, Step::Scheduler, Step::Panic];
        let all: Vec<_> = steps.iter().chain(&more).map(|step| step.character()).collect();
        assert_eq!(all, b"123456789AP");
    }
}
