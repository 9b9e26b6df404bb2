//! The power manager's watchdog: it resets the board unless it is kicked, and is the way to reboot and to halt.
//!
//! Time is counted down in 1/65536 s, in 20 bits. What happens at the end is the reset configuration in RSTC. Every write
//! carries a password in its upper byte, or it is ignored. The firmware that comes up reads a partition number out of RSTS,
//! spread over its even bits; number 63 means: do not start, stay halted. A board that is halted so wants its supply taken
//! off and on, or its GLOBAL_EN pin pulled.
//!
//! QEMU resets at the write that arms it, however much time there would be.
//!
//! Context: any for [`Watchdog::reboot`] and [`Watchdog::halt`], a panic too; the others hold the lock of who offers them,
//! since they read, change and write.
//! Facts: no manual has this block; the firmware's own use of it, as known from several open drivers.
#![cfg_attr(not(target_os = "none"), forbid(unsafe_code))]

use crate::drivers::mmio::Registers;

const RSTC: usize = 0x1c;
const RSTS: usize = 0x20;
const WDOG: usize = 0x24;

const PASSWORD: u32 = 0x5a << 24;
const PASSWORD_MASK: u32 = 0xff << 24;
/// What the watchdog does: nothing, or reset everything.
const RSTC_WRCFG_MASK: u32 = 0x30;
const RSTC_WRCFG_FULL: u32 = 0x20;
const RSTC_STOPPED: u32 = 0x102;
/// The partition number's bits: 0, 2, 4, 6, 8, 10.
const RSTS_PARTITION: u32 = 0x555;
const WDOG_MASK: u32 = (1 << 20) - 1;
const TICKS_PER_SECOND: u64 = 1 << 16;
/// About 150 us: enough for the write to be done, not enough to wait for.
const SOON_TICKS: u32 = 10;

/// The longest time to the reset; the counter would reach a little further.
pub const TIMEOUT_MAX_MS: u32 = 15_000;

/// The watchdog.
#[derive(Debug)]
pub struct Watchdog<R> {
    regs: R,
}

impl<R: Registers> Watchdog<R> {
    /// The watchdog behind `regs`.
    pub const fn new(regs: R) -> Self {
        Self { regs }
    }

    fn write(&self, offset: usize, value: u32) {
        self.regs.write(offset, PASSWORD | value & !PASSWORD_MASK);
    }

    /// Starts it, or begins its time anew: the board is reset in `ms` milliseconds unless this, or [`Self::stop`], is
    /// called before. 1 to [`TIMEOUT_MAX_MS`].
    pub fn start(&self, ms: u32) {
        assert!(
            (1..=TIMEOUT_MAX_MS).contains(&ms),
            "{ms} ms to the reset; 1 to {TIMEOUT_MAX_MS} are possible"
        );
        self.arm((u64::from(ms) * TICKS_PER_SECOND / 1000) as u32);
    }

    fn arm(&self, ticks: u32) {
        self.write(WDOG, ticks & WDOG_MASK);
        let config = self.regs.read(RSTC) & !RSTC_WRCFG_MASK;
        self.write(RSTC, config | RSTC_WRCFG_FULL);
    }

    /// Stops it.
    pub fn stop(&self) {
        self.write(RSTC, RSTC_STOPPED);
    }

    /// Milliseconds to the reset, if it runs.
    pub fn left_ms(&self) -> Option<u32> {
        let runs = self.regs.read(RSTC) & RSTC_WRCFG_MASK == RSTC_WRCFG_FULL;
        let ticks = u64::from(self.regs.read(WDOG) & WDOG_MASK);
        runs.then(|| (ticks * 1000 / TICKS_PER_SECOND) as u32)
    }

    /// Resets the board, which starts again from its first partition. Returns before it happens.
    pub fn reboot(&self) {
        let status = self.regs.read(RSTS) & !RSTS_PARTITION;
        self.write(RSTS, status);
        self.arm(SOON_TICKS);
    }

    /// Resets the board and tells its firmware not to start. Returns before it happens.
    pub fn halt(&self) {
        let status = self.regs.read(RSTS) | RSTS_PARTITION;
        self.write(RSTS, status);
        self.arm(SOON_TICKS);
    }
}

#[cfg(target_os = "none")]
pub use device::{DRIVER, get};

/// The watchdog of this machine.
#[cfg(target_os = "none")]
mod device {
    use super::Watchdog;
    use crate::drivers::mmio::Mmio;
    use crate::drivers::platform::{Device, Driver, ProbeError};

    /// The driver's row.
    pub const DRIVER: Driver = Driver {
        name: "watchdog",
        compatible: &["brcm,bcm2711-pm", "brcm,bcm2835-pm", "brcm,bcm2835-pm-wdt"],
        probe,
    };

    static WATCHDOG: spin::Once<Watchdog<Mmio>> = spin::Once::new();

    /// The watchdog, if the machine has one. Any context.
    pub fn get() -> Option<&'static Watchdog<Mmio>> {
        WATCHDOG.get()
    }

    fn probe(device: &Device) -> Result<(), ProbeError> {
        if WATCHDOG.get().is_some() {
            return Err(ProbeError::new("there is a watchdog already"));
        }
        let watchdog = Watchdog::new(device.map_block(0, 0x28)?);
        WATCHDOG.call_once(|| watchdog);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// What the block does with a write, and what happens when time passes.
    struct Fake {
        rstc: Cell<u32>,
        rsts: Cell<u32>,
        wdog: Cell<u32>,
    }

    #[derive(Debug, PartialEq)]
    enum Board {
        Runs,
        StartsFrom(u32),
        Halted,
    }

    fn fake() -> Watchdog<Fake> {
        // Bits that are nobody's business must stay: here the reset causes, and a partition of the last start.
        Watchdog::new(Fake { rstc: Cell::new(0x102), rsts: Cell::new(0x1004), wdog: Cell::new(0) })
    }

    impl Fake {
        /// The board after so many milliseconds.
        fn after(&self, ms: u32) -> Board {
            let ticks = ms * 65_536 / 1000;
            if self.rstc.get() & 0x30 != 0x20 {
                return Board::Runs;
            }
            match self.wdog.get().checked_sub(ticks) {
                Some(left) if left > 0 => {
                    self.wdog.set(left);
                    Board::Runs
                }
                _ => {
                    let partition =
                        (0..6).fold(0, |all, bit| all | (self.rsts.get() >> (2 * bit) & 1) << bit);
                    if partition == 63 { Board::Halted } else { Board::StartsFrom(partition) }
                }
            }
        }
    }

    impl Registers for Fake {
        fn read(&self, offset: usize) -> u32 {
            match offset {
                RSTC => self.rstc.get(),
                RSTS => self.rsts.get(),
                WDOG => self.wdog.get(),
                _ => panic!("{offset:#x} is not the watchdog's"),
            }
        }

        fn write(&self, offset: usize, value: u32) {
            if value >> 24 != 0x5a {
                return;
            }
            let value = value & 0xff_ffff;
            match offset {
                RSTC => self.rstc.set(value),
                RSTS => self.rsts.set(value),
                WDOG => self.wdog.set(value & 0xf_ffff),
                _ => panic!("{offset:#x} is not the watchdog's"),
            }
        }
    }

    #[test]
    fn it_resets_the_board_when_it_is_not_kicked() {
        let watchdog = fake();
        assert_eq!(watchdog.left_ms(), None);
        watchdog.start(15_000);
        assert_eq!(watchdog.regs.after(14_000), Board::Runs);
        assert_eq!(watchdog.left_ms(), Some(1000));
        watchdog.start(2000);
        assert_eq!(watchdog.regs.after(1999), Board::Runs);
        assert_eq!(watchdog.regs.after(2), Board::StartsFrom(2));
    }

    #[test]
    fn it_can_be_stopped() {
        let watchdog = fake();
        watchdog.start(1);
        watchdog.stop();
        assert_eq!((watchdog.left_ms(), watchdog.regs.after(60_000)), (None, Board::Runs));
    }

    #[test]
    #[should_panic(expected = "15001 ms to the reset; 1 to 15000 are possible")]
    fn a_time_that_would_be_cut_to_another_one_is_refused() {
        fake().start(15_001);
    }

    #[test]
    fn a_reboot_starts_from_the_first_partition_and_a_halt_stays() {
        let watchdog = fake();
        watchdog.reboot();
        assert_eq!(watchdog.regs.after(1), Board::StartsFrom(0));
        assert_eq!(watchdog.regs.rsts.get(), 0x1000, "the other bits stay");
        let watchdog = fake();
        watchdog.halt();
        assert_eq!(watchdog.regs.after(1), Board::Halted);
        assert_eq!(watchdog.regs.rsts.get(), 0x1555);
    }
}
