//! Interrupts on demand: software-generated ones, sent by the CPU to itself, through the real controller.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering};
use stint::irq;

/// A requested interrupt with a closure for a handler. Dropping it frees the line.
pub struct Interrupt {
    intid: u32,
    inner: Box<Inner>,
}

struct Inner {
    taken: AtomicU32,
    handler: Box<dyn Fn()>,
}

impl Interrupt {
    /// Requests `intid`; `handler` runs in hard-interrupt context. Tests use the SGIs 8 to 15.
    pub fn request(intid: u32, handler: impl Fn() + 'static) -> stint::Result<Self> {
        let inner = Box::new(Inner { taken: AtomicU32::new(0), handler: Box::new(handler) });
        irq::request(intid, run, (&raw const *inner).expose_provenance())?;
        Ok(Self { intid, inner })
    }

    /// Sends it (an SGI) to this CPU. Where interrupts are open it is taken within a few instructions; use
    /// [`Self::raise`] if what follows must come after it.
    pub fn send(&self) {
        arch::gic::send_sgi_self(self.intid);
    }

    /// Sends it and comes back when it has been taken, and whoever it woke has had its turn. IRQs open.
    pub fn raise(&self) {
        let before = self.taken();
        self.send();
        let mut patience = 100_000u32;
        while self.taken() == before {
            patience -= 1;
            assert!(patience != 0, "SGI {} was sent and never taken", self.intid);
        }
    }

    /// How often it was taken.
    pub fn taken(&self) -> u32 {
        self.inner.taken.load(Ordering::Relaxed)
    }
}

fn run(inner: usize) {
    // SAFETY: `request` made it, and the line is freed before it goes.
    let inner = unsafe { &*core::ptr::with_exposed_provenance::<Inner>(inner) };
    (inner.handler)();
    inner.taken.fetch_add(1, Ordering::Relaxed);
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        irq::free(self.intid);
    }
}
