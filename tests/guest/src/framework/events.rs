//! A record of what happened in which order: one letter per event, appended from any context.
//!
//! This is how tests speak about order without sleeping: `"mhHm"` reads "main, handler, high task, main again".
//!
//! Context: `mark` from any, lock-free; `text` when nobody marks any more.

use alloc::string::String;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// The most events one record takes; more are counted and make `text` end in `…`.
const EVENTS_MAX: usize = 512;

/// See the module's text. A static of the test that uses it.
pub struct Events {
    next: AtomicUsize,
    marks: [AtomicU8; EVENTS_MAX],
}

impl Events {
    /// Nothing has happened yet.
    pub const fn new() -> Self {
        Self { next: AtomicUsize::new(0), marks: [const { AtomicU8::new(0) }; EVENTS_MAX] }
    }

    /// Appends an event.
    #[inline(never)]
    pub fn mark(&self, event: char) {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.marks.get(at) {
            place.store(event as u8, Ordering::Relaxed);
        }
    }

    /// How many events there were.
    pub fn len(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    /// What happened, in order.
    pub fn text(&self) -> String {
        let mut text: String =
            self.marks.iter().take(self.len()).map(|mark| mark.load(Ordering::Relaxed) as char).collect();
        if self.len() > EVENTS_MAX {
            text.push('…');
        }
        text
    }
}
