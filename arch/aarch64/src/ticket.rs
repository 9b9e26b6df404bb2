//! The word of a spin lock: tickets, handed out and served in order.
//!
//! The low half is the ticket that is served, the owner's; the high half is the next one to be handed out. Who takes
//! the lock adds one to the high half and waits until the low half is what the high half was: first come, first served,
//! so with N CPUs at most N − 1 sections go before mine. A word of 16-bit halves is enough for 65,535 CPUs.
//!
//! **Waiting is WFE.** `ldaxrh` puts the owner half under the exclusive monitor, the comparison follows, and only then
//! `wfe`. The release is a store to that half; it takes the monitor away from every CPU that waits, and *that* is an
//! event for them (Arm ARM D1.7, "Wait for Event": the clearing of the global monitor for the PE). It sets the event
//! register, so a release between the load and the `wfe` makes the `wfe` fall through: no wake-up is lost, and no `sev`
//! has to be sent. An interrupt in between is none either, for the `eret` behind it is an event as well. QEMU's `wfe`
//! does not sleep: it lets another CPU run.
//!
//! **Ordering.** Whoever is served has loaded the owner half with acquire (`ldaxr` where the lock was free, `ldaxrh` at the
//! end of the wait); the release is `stlrh`. So a section sees everything that the sections before it did. The store
//! of a ticket is not ordered with the section, and need not be: it says that somebody waits, not that he has it.
//!
//! **One CPU** has no word: the `_if` functions are one `nop` each while their key is off, and no branch, call or
//! register save where they stand; what the `nop` branches to lies behind the function (`.subsection`), so that a
//! back-trace of a CPU that spins still names the function. They cost a caller nothing but scratch registers.
//!
//! Context: preemption off or interrupts masked, from before the ticket is taken: a holder of a ticket that is switched
//! away stalls every CPU behind it.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

/// See the module's text.
#[derive(Debug)]
#[repr(transparent)]
pub struct TicketLock {
    word: AtomicU32,
}

/// What [`TicketLock::lock`] is: `{p}` is the address, the rest scratch. Goes on at `$end`.
macro_rules! take {
    ($end:literal) => {
        concat!(
            "33: ldaxr {t:w}, [{p}]\n",
            "add {n:w}, {t:w}, #0x10, lsl #12\n",
            "stxr {s:w}, {n:w}, [{p}]\n",
            "cbnz {s:w}, 33b\n",
            "eor {n:w}, {t:w}, {t:w}, ror #16\n",
            "cbz {n:w}, ",
            $end,
            "\n",
            // Another one is served. The ticket is the high half of t.
            "4: ldaxrh {n:w}, [{p}]\n",
            "eor {s:w}, {n:w}, {t:w}, lsr #16\n",
            "cbz {s:w}, ",
            $end,
            "\n",
            "wfe\n",
            "b 4b"
        )
    };
}

/// What [`TicketLock::unlock`] is. The owner half belongs to the owner: nobody else writes to it.
macro_rules! release {
    () => {
        "ldrh {t:w}, [{p}]\nadd {t:w}, {t:w}, #1\nstlrh {t:w}, [{p}]"
    };
}

/// A site of `{key}` at the label 2 whose other side, the text at label 3, lies behind the function.
macro_rules! behind_the_function {
    ($text:expr) => {
        concat!(
            "2: nop\n.pushsection .patch, \"a\"\n.balign 4\n.long 2b - .\n.long 3f - .\n.long {key}\nnop\n.popsection\n",
            ".subsection 1\n.balign 4\n",
            $text,
            "\n.previous"
        )
    };
}

impl TicketLock {
    /// An open one.
    #[must_use]
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(0) }
    }

    /// Takes it, waiting for those who came before.
    #[inline(always)]
    pub fn lock(&self) {
        // SAFETY: exclusive and acquiring accesses to the word. Not `nomem`: what it guards must be read again.
        unsafe {
            asm!(take!("5f"), "5:", p = in(reg) self.word.as_ptr(), t = out(reg) _, n = out(reg) _, s = out(reg) _,
                options(nostack, preserves_flags));
        }
    }

    /// [`Self::lock`] while `KEY` is on; while it is off, a `nop`.
    #[inline(always)]
    pub fn lock_if<const KEY: u32>(&self) {
        // SAFETY: as `lock`; the other side comes back to the instruction behind the site, with the same registers
        // destroyed as where nothing was done. It is in the function's own section, so in reach of any branch.
        unsafe {
            asm!(behind_the_function!(concat!("3:\n", take!("2b + 4"))), key = const KEY, p = in(reg) self.word.as_ptr(),
                t = out(reg) _, n = out(reg) _, s = out(reg) _, options(nostack, preserves_flags));
        }
    }

    /// [`Self::lock_if`] of the one that lies `OFFSET` bytes behind `base`: its address is computed on the other side.
    ///
    /// # Safety
    /// There is one, for as long as the call takes.
    #[inline(always)]
    pub unsafe fn lock_if_at<const KEY: u32, const OFFSET: usize>(base: *const u8) {
        const { assert!(OFFSET < 4096, "an `add` has 12 bits of offset") };
        // SAFETY: as `lock_if`.
        unsafe {
            asm!(behind_the_function!(concat!("3: add {p}, {b}, #{offset}\n", take!("2b + 4"))), key = const KEY,
                offset = const OFFSET, b = in(reg) base, p = out(reg) _, t = out(reg) _, n = out(reg) _, s = out(reg) _,
                options(nostack, preserves_flags));
        }
    }

    /// [`Self::unlock_if`] of the one that lies `OFFSET` bytes behind `base`.
    ///
    /// # Safety
    /// There is one, and if the key is on the caller holds it.
    #[inline(always)]
    pub unsafe fn unlock_if_at<const KEY: u32, const OFFSET: usize>(base: *const u8) {
        const { assert!(OFFSET < 4096, "an `add` has 12 bits of offset") };
        // SAFETY: as `unlock_if`.
        unsafe {
            asm!(behind_the_function!(concat!("3: add {p}, {b}, #{offset}\n", release!(), "\nb 2b + 4")), key = const KEY,
                offset = const OFFSET, b = in(reg) base, p = out(reg) _, t = out(reg) _,
                options(nostack, preserves_flags));
        }
    }

    /// Takes it if nobody has it and nobody waits.
    #[inline(always)]
    #[must_use]
    pub fn try_lock(&self) -> bool {
        let refused: u32;
        // SAFETY: as `lock`. The word is tested and changed in one exclusive pair.
        unsafe {
            asm!("2: ldaxr {t:w}, [{p}]", "eor {n:w}, {t:w}, {t:w}, ror #16", "cbnz {n:w}, 3f",
                "add {t:w}, {t:w}, #0x10, lsl #12", "stxr {n:w}, {t:w}, [{p}]", "cbnz {n:w}, 2b", "3:",
                p = in(reg) self.word.as_ptr(), t = out(reg) _, n = out(reg) refused, options(nostack, preserves_flags));
        }
        refused == 0
    }

    /// Serves the next one.
    ///
    /// # Safety
    /// The caller holds it.
    #[inline(always)]
    pub unsafe fn unlock(&self) {
        // SAFETY: the owner half is the caller's, by contract. Not `nomem`: what it guarded is written before.
        unsafe {
            asm!(release!(), p = in(reg) self.word.as_ptr(), t = out(reg) _, options(nostack, preserves_flags));
        }
    }

    /// [`Self::unlock`] while `KEY` is on; while it is off, a `nop`.
    ///
    /// # Safety
    /// The caller holds it, if the key is on.
    #[inline(always)]
    pub unsafe fn unlock_if<const KEY: u32>(&self) {
        // SAFETY: as `unlock` and `lock_if`.
        unsafe {
            asm!(behind_the_function!(concat!("3: ", release!(), "\nb 2b + 4")), key = const KEY,
                p = in(reg) self.word.as_ptr(), t = out(reg) _, options(nostack, preserves_flags));
        }
    }

    /// [`Self::unlock`] of the one that lies `OFFSET` bytes behind `base`: its address is computed here, so that nobody keeps
    /// it over the section.
    ///
    /// # Safety
    /// There is one, and the caller holds it.
    #[inline(always)]
    pub unsafe fn unlock_at<const OFFSET: usize>(base: *const u8) {
        const { assert!(OFFSET < 4096, "an `add` has 12 bits of offset") };
        // SAFETY: as `unlock`.
        unsafe {
            asm!("add {p}, {b}, #{offset}", release!(), offset = const OFFSET, b = in(reg) base, p = out(reg) _,
                t = out(reg) _, options(nostack, preserves_flags));
        }
    }

    /// [`Self::lock`] in two steps, for who does something else while it waits: a place in the order. The caller waits for
    /// [`Self::is_served`].
    #[must_use]
    pub fn take_ticket(&self) -> u16 {
        (self.word.fetch_add(1 << 16, Ordering::Relaxed) >> 16) as u16
    }

    /// Whether who has this ticket has the lock.
    #[inline(always)]
    #[must_use]
    pub fn is_served(&self, ticket: u16) -> bool {
        self.word.load(Ordering::Acquire) as u16 == ticket
    }

    /// Whether somebody has it. A hint, but for who has it.
    #[inline(always)]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.tickets_out() != 0
    }

    /// Whether somebody waits, for who has it: another ticket is out.
    #[inline(always)]
    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.tickets_out() > 1
    }

    /// How many have it or wait for it.
    #[must_use]
    pub fn tickets_out(&self) -> u16 {
        let word = self.word.load(Ordering::Relaxed);
        ((word >> 16) as u16).wrapping_sub(word as u16)
    }
}

impl Default for TicketLock {
    fn default() -> Self {
        Self::new()
    }
}
