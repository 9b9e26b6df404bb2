//! What the firmware of a Raspberry Pi can be asked: clocks, temperature, throttling, memory, which board it is.
//!
//! Each question is one call of the mailbox; the answers are plain data. The firmware, and not the kernel, lowers the ARM
//! clock when the chip is hot or the supply weak, so whoever measures time asks it before and behind.
//!
//! Context: threads; callers wait for each other (MAILBOX, a sleeping lock).
//! Facts: Raspberry Pi firmware wiki (property interface), Raspberry Pi documentation (revision codes, `get_throttled`).

use core::fmt;

use super::mailbox::{Mailbox, MailboxError, Shared};
use crate::drivers::mmio::Registers;

const TAG_FIRMWARE_REVISION: u32 = 0x0000_0001;
const TAG_BOARD_REVISION: u32 = 0x0001_0002;
const TAG_MAC: u32 = 0x0001_0003;
const TAG_ARM_MEMORY: u32 = 0x0001_0005;
const TAG_VC_MEMORY: u32 = 0x0001_0006;
const TAG_CLOCK: u32 = 0x0003_0002;
const TAG_CLOCK_MAX: u32 = 0x0003_0004;
const TAG_TEMPERATURE: u32 = 0x0003_0006;
const TAG_TEMPERATURE_MAX: u32 = 0x0003_000a;
const TAG_THROTTLED: u32 = 0x0003_0046;
const TAG_CLOCK_MEASURED: u32 = 0x0003_0047;

/// A clock, by the firmware's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Clock {
    /// The first SD controller.
    Emmc = 1,
    /// The PL011s.
    Uart = 2,
    /// The CPUs.
    Arm = 3,
    /// The VPU and the peripherals: mini UART, SPI, I²C.
    Core = 4,
    /// PWM.
    Pwm = 10,
    /// The second SD controller.
    Emmc2 = 12,
}

impl Clock {
    /// The clocks that the support table shows.
    pub const ALL: [Self; 6] = [Self::Arm, Self::Core, Self::Uart, Self::Emmc, Self::Emmc2, Self::Pwm];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emmc => "emmc",
            Self::Uart => "uart",
            Self::Arm => "arm",
            Self::Core => "core",
            Self::Pwm => "pwm",
            Self::Emmc2 => "emmc2",
        }
    }
}

/// What lowers the clock of the CPUs: the conditions of now, and in the upper half those since they were last cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttled(pub u32);

impl Throttled {
    const NAMES: [(u32, &'static str); 4] = [
        (1 << 0, "the supply is below 4.63 V"),
        (1 << 1, "the ARM clock is capped"),
        (1 << 2, "throttled"),
        (1 << 3, "at the soft limit of temperature"),
    ];
    /// All four.
    pub const ANY: u32 = 0xf;

    /// The conditions that hold now.
    #[must_use]
    pub const fn now(self) -> u32 {
        self.0 & Self::ANY
    }

    /// The conditions that have held since they were cleared.
    #[must_use]
    pub const fn since_cleared(self) -> u32 {
        self.0 >> 16 & Self::ANY
    }
}

/// `no`, or the conditions in words.
impl fmt::Display for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.now() | self.since_cleared() == 0 {
            return f.write_str("no");
        }
        let mut between = "";
        for (bits, tense) in [(self.now(), ""), (self.since_cleared() & !self.now(), " (before, not now)")] {
            for (_, name) in Self::NAMES.iter().filter(|(bit, _)| bits & bit != 0) {
                write!(f, "{between}{name}{tense}")?;
                between = ", ";
            }
        }
        Ok(())
    }
}

/// A range of memory, as the firmware divides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPart {
    /// First address.
    pub start: u32,
    /// Length.
    pub bytes: u32,
}

/// The code that says which board it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardRevision(pub u32);

impl BoardRevision {
    const NEW_STYLE: u32 = 1 << 23;

    /// Model, where the code is one of the new style (all boards since 2014) and the model known.
    #[must_use]
    pub fn model(self) -> Option<&'static str> {
        if self.0 & Self::NEW_STYLE == 0 {
            return None;
        }
        match self.0 >> 4 & 0xff {
            0x08 => Some("Raspberry Pi 3 Model B"),
            0x0d => Some("Raspberry Pi 3 Model B+"),
            0x11 => Some("Raspberry Pi 4 Model B"),
            0x13 => Some("Raspberry Pi 400"),
            0x14 => Some("Compute Module 4"),
            0x15 => Some("Compute Module 4S"),
            0x17 => Some("Raspberry Pi 5"),
            _ => None,
        }
    }

    /// RAM in MiB: 256 times a power of two.
    #[must_use]
    pub fn ram_mib(self) -> Option<u32> {
        (self.0 & Self::NEW_STYLE != 0).then(|| 256 << (self.0 >> 20 & 7))
    }

    /// Revision of the board's layout, the part behind `1.`.
    #[must_use]
    pub fn minor(self) -> u32 {
        self.0 & 0xf
    }
}

/// `Raspberry Pi 4 Model B, 2 GiB, revision 1.5 (b03115)`.
impl fmt::Display for BoardRevision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Some(mib) = self.ram_mib() else { return write!(f, "unknown board (code {:x})", self.0) };
        match self.model() {
            Some(model) => f.write_str(model)?,
            None => write!(f, "unknown model {:#x}", self.0 >> 4 & 0xff)?,
        }
        match mib {
            0..1024 => write!(f, ", {mib} MiB")?,
            _ => write!(f, ", {} GiB", mib / 1024)?,
        }
        write!(f, ", revision 1.{} ({:x})", self.minor(), self.0)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The questions. Errors are those of the mailbox.
impl<R: Registers, M: Shared> Mailbox<R, M> {
    /// Revision of the firmware: the time at which it was built, in seconds since 1970.
    pub fn firmware_revision(&mut self) -> Result<u32, MailboxError> {
        self.property::<1>(TAG_FIRMWARE_REVISION, &[], 4).map(|[revision]| revision)
    }

    /// Which board it is.
    pub fn board_revision(&mut self) -> Result<BoardRevision, MailboxError> {
        self.property::<1>(TAG_BOARD_REVISION, &[], 4).map(|[code]| BoardRevision(code))
    }

    /// The board's Ethernet address.
    pub fn mac_address(&mut self) -> Result<MacAddress, MailboxError> {
        let [low, high] = self.property(TAG_MAC, &[], 6)?;
        // Bytes in the order of memory.
        let ([a, b, c, d], [e, f, ..]) = (low.to_le_bytes(), high.to_le_bytes());
        Ok(MacAddress([a, b, c, d, e, f]))
    }

    /// The memory of the CPUs, below 1 GiB.
    pub fn arm_memory(&mut self) -> Result<MemoryPart, MailboxError> {
        self.property(TAG_ARM_MEMORY, &[], 8).map(|[start, bytes]| MemoryPart { start, bytes })
    }

    /// The firmware's own memory.
    pub fn vc_memory(&mut self) -> Result<MemoryPart, MailboxError> {
        self.property(TAG_VC_MEMORY, &[], 8).map(|[start, bytes]| MemoryPart { start, bytes })
    }

    /// What a clock is set to.
    pub fn clock_hz(&mut self, clock: Clock) -> Result<u32, MailboxError> {
        self.of_clock(TAG_CLOCK, clock)
    }

    /// The most a clock can be set to.
    pub fn clock_max_hz(&mut self, clock: Clock) -> Result<u32, MailboxError> {
        self.of_clock(TAG_CLOCK_MAX, clock)
    }

    /// What a clock really is, measured by the firmware.
    pub fn clock_measured_hz(&mut self, clock: Clock) -> Result<u32, MailboxError> {
        self.of_clock(TAG_CLOCK_MEASURED, clock)
    }

    fn of_clock(&mut self, tag: u32, clock: Clock) -> Result<u32, MailboxError> {
        self.property::<2>(tag, &[clock as u32], 8).map(|[_, hz]| hz)
    }

    /// Temperature of the chip in thousandths of a degree Celsius.
    pub fn temperature_mc(&mut self) -> Result<u32, MailboxError> {
        self.property::<2>(TAG_TEMPERATURE, &[0], 8).map(|[_, mc]| mc)
    }

    /// The temperature at which the firmware throttles.
    pub fn temperature_max_mc(&mut self) -> Result<u32, MailboxError> {
        self.property::<2>(TAG_TEMPERATURE_MAX, &[0], 8).map(|[_, mc]| mc)
    }

    /// Whether the clock is, or was, lowered.
    pub fn throttled(&mut self) -> Result<Throttled, MailboxError> {
        self.property::<1>(TAG_THROTTLED, &[0], 4).map(|[bits]| Throttled(bits))
    }

    /// [`Self::throttled`], and forgets what was, so that the next answer says what has been since. A firmware that does
    /// not forget is not told apart here; compare two answers.
    pub fn take_throttled(&mut self) -> Result<Throttled, MailboxError> {
        self.property::<1>(TAG_THROTTLED, &[0xffff], 4).map(|[bits]| Throttled(bits))
    }
}

#[cfg(target_os = "none")]
pub use device::{DRIVER, with};

/// The mailbox of this machine.
#[cfg(target_os = "none")]
mod device {
    use core::cell::UnsafeCell;

    use super::super::mailbox::{Mailbox, Shared, WORDS};
    use crate::drivers::mmio::Mmio;
    use crate::drivers::platform::{Device, Driver, ProbeError};
    use crate::locking::Mutex;
    use alloc::format;
    use arch::cache;

    /// The driver's row.
    pub const DRIVER: Driver = Driver { name: "mailbox", compatible: &["brcm,bcm2835-mbox"], probe };

    static MAILBOX: Mutex<Option<Mailbox<Mmio, Buffer>>> = Mutex::new(None);

    /// Asks the firmware; `None` on a machine without a mailbox. Sleeps while somebody else asks.
    pub fn with<R>(ask: impl FnOnce(&mut Mailbox<Mmio, Buffer>) -> R) -> Option<R> {
        MAILBOX.lock().as_mut().map(ask)
    }

    /// A whole number of cache lines, of any cache there is: nobody's data are beside it in a line that is dropped.
    #[repr(C, align(128))]
    struct Words(UnsafeCell<[u32; WORDS]>);

    // SAFETY: the one `Buffer` there is, is behind a lock.
    unsafe impl Sync for Words {}

    const _: () = assert!(size_of::<Words>() == 128);

    static WORDS_STORE: Words = Words(UnsafeCell::new([0; WORDS]));

    /// The buffer: part of the image, so that it is never given back while the firmware may still write to it.
    pub struct Buffer {
        bus: u32,
    }

    /// The firmware sees the first GiB of RAM here, past its own caches.
    const BUS_ALIAS: u32 = 0xc000_0000;
    const BUS_REACH: u64 = 1 << 30;

    impl Buffer {
        fn va() -> usize {
            WORDS_STORE.0.get() as usize
        }
    }

    impl Shared for Buffer {
        fn bus_address(&self) -> u32 {
            self.bus
        }

        fn words(&mut self) -> &mut [u32; WORDS] {
            // SAFETY: `probe` makes one `Buffer`, and it is borrowed for as long as the words are. The firmware writes to
            // them between `hand_over` and `take_back` alone, or late, when the driver does not look (`owed`).
            unsafe { &mut *WORDS_STORE.0.get() }
        }

        fn hand_over(&mut self) {
            // Ends with a DSB: written before the address goes to the device.
            cache::clean_inval_to_poc(Self::va(), size_of::<Words>());
        }

        fn take_back(&mut self) {
            // The lines are clean, nobody has written to them since: what this drops was fetched ahead of time.
            cache::clean_inval_to_poc(Self::va(), size_of::<Words>());
        }
    }

    fn probe(device: &Device) -> Result<(), ProbeError> {
        let phys = arch::boot::image_to_phys(Buffer::va()).0;
        if phys >= BUS_REACH {
            return Err(ProbeError::new(format!(
                "the buffer is at {phys:#x}, where the firmware cannot see it; expected the image below {BUS_REACH:#x}"
            )));
        }
        let regs = device.map_block(0, 0x40)?;
        let mut slot = MAILBOX.lock();
        if slot.is_some() {
            return Err(ProbeError::new("there is a mailbox already"));
        }
        *slot = Some(Mailbox::new(regs, Buffer { bus: phys as u32 | BUS_ALIAS }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{BoardRevision, MacAddress, Throttled};
    use std::string::ToString;

    #[test]
    fn a_revision_code_says_model_memory_and_revision() {
        let told = |code| BoardRevision(code).to_string();
        assert_eq!(told(0xb03115), "Raspberry Pi 4 Model B, 2 GiB, revision 1.5 (b03115)");
        assert_eq!(told(0xd03114), "Raspberry Pi 4 Model B, 8 GiB, revision 1.4 (d03114)");
        assert_eq!(told(0xc03130), "Raspberry Pi 400, 4 GiB, revision 1.0 (c03130)");
        assert_eq!(told(0x9000c1), "unknown model 0xc, 512 MiB, revision 1.1 (9000c1)");
        assert_eq!(told(0x0010), "unknown board (code 10)");
    }

    #[test]
    fn throttling_is_told_in_words_and_the_past_from_the_present() {
        assert_eq!(Throttled(0).to_string(), "no");
        assert_eq!(Throttled(0x5_0005).to_string(), "the supply is below 4.63 V, throttled");
        assert_eq!(
            Throttled(0xa_0002).to_string(),
            "the ARM clock is capped, at the soft limit of temperature (before, not now)"
        );
        assert_eq!((Throttled(0xa_0002).now(), Throttled(0xa_0002).since_cleared()), (2, 0xa));
    }

    #[test]
    fn an_ethernet_address_is_written_as_everywhere() {
        assert_eq!(MacAddress([0xdc, 0xa6, 0x32, 0, 1, 0xff]).to_string(), "dc:a6:32:00:01:ff");
    }
}
