//! The names of the tasks in a trace: of those that there are, and of the last that ended.
//!
//! A record has a task's number. Its name is looked up when the record is printed; for tasks that have ended meanwhile it is
//! remembered as they end, in a table with a place for each number modulo [`REMEMBERED`]: numbers are handed out in order,
//! so the last [`REMEMBERED`] that ended young are there. Whoever is in neither prints as `<...>`, as in ftrace.
//!
//! A place is taken by exchanging its number for [`BUSY`]; who finds that there leaves the place to the other CPU that is writing
//! it. A reader looks at the number before and behind the name.
//!
//! Context: [`remember`] any, IRQs masked, no lock, no loop; [`Names::now`] threads.

use crate::task::{self, Name, Task};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64, fence};

/// Places for tasks that have ended.
pub const REMEMBERED: usize = 256;

/// Nobody's number: the place is empty. (0 is the boot CPU's idle task, which does not end.)
const NOBODY: u32 = 0;
/// Nobody's number: the place is being written.
const BUSY: u32 = u32::MAX;

struct Place {
    id: AtomicU32,
    name: [AtomicU64; 2],
}

static PLACES: [Place; REMEMBERED] =
    [const { Place { id: AtomicU32::new(NOBODY), name: [const { AtomicU64::new(0) }; 2] } }; REMEMBERED];

/// Keeps the name of a task that ends.
pub(super) fn remember(task: &Task) {
    keep(&PLACES, task.id(), task.name_copy());
}

fn keep(places: &[Place; REMEMBERED], id: u32, name: Name) {
    let place = &places[id as usize % REMEMBERED];
    if place.id.swap(BUSY, Acquire) == BUSY {
        return;
    }
    // A reader that finds a new word finds that the place was busy.
    fence(Release);
    for (word, value) in place.name.iter().zip(name.words()) {
        word.store(value, Relaxed);
    }
    place.id.store(id, Release);
}

fn remembered(places: &[Place; REMEMBERED], id: u32) -> Option<Name> {
    let place = &places[id as usize % REMEMBERED];
    if place.id.load(Acquire) != id || id == NOBODY || id == BUSY {
        return None;
    }
    let name = Name::from_words([0, 1].map(|at| place.name[at].load(Relaxed)));
    fence(Acquire);
    (place.id.load(Relaxed) == id).then_some(name)
}

/// The names of the tasks that there are, by their numbers.
#[derive(Debug)]
pub struct Names(Vec<(u32, Name)>);

impl Names {
    /// As of now. Allocates; threads.
    #[must_use]
    pub fn now() -> Self {
        let mut names = Vec::new();
        task::for_each(|task| names.push((task.id(), task.name_copy())));
        names.sort_unstable_by_key(|&(id, _)| id);
        Self(names)
    }

    /// None: everybody is `<...>`, or remembered. For contexts that cannot look.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The name of task `id`; it may have ended.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Name> {
        match self.0.binary_search_by_key(&id, |&(id, _)| id) {
            Ok(at) => Some(self.0[at].1),
            Err(_) => remembered(&PLACES, id),
        }
    }
}

/// A name as viewers take it: no blank, no `=`, and nothing that ends the line.
#[derive(Clone, Copy, Debug)]
pub struct Comm<'a>(pub &'a str);

impl fmt::Display for Comm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = heapless::String::<{ 4 * Name::BYTES }>::new();
        for c in self.0.chars() {
            let taken = c == '=' || c.is_whitespace() || c.is_control();
            // As long as a name can be; what does not fit is left out.
            let _ = text.push(if taken { '_' } else { c });
        }
        f.pad(if text.is_empty() { "_" } else { &text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_name_is_one_word_without_an_equals_sign() {
        assert_eq!(format!("{}", Comm("irq/33-uart rx=1\n")), "irq/33-uart_rx_1_");
        assert_eq!(format!("[{:>6}]", Comm("a b")), "[   a_b]");
        assert_eq!(format!("{}", Comm("")), "_");
    }

    #[test]
    fn the_last_that_ended_are_remembered_and_another_number_is_nobody() {
        let places = [const { Place { id: AtomicU32::new(NOBODY), name: [const { AtomicU64::new(0) }; 2] } };
            REMEMBERED];
        keep(&places, 7, Name::new("seven"));
        keep(&places, 8, Name::new("0123456789abcde"));
        assert_eq!(remembered(&places, 7), Some(Name::new("seven")));
        assert_eq!(remembered(&places, 8), Some(Name::new("0123456789abcde")));
        let later = 7 + REMEMBERED as u32;
        assert_eq!(remembered(&places, later), None);
        keep(&places, later, Name::new("later"));
        assert_eq!((remembered(&places, 7), remembered(&places, later)), (None, Some(Name::new("later"))));
        assert_eq!(remembered(&places, 0), None);
    }

    #[test]
    fn a_place_that_another_cpu_is_writing_is_left_to_it_and_shows_nothing() {
        let places = [const { Place { id: AtomicU32::new(NOBODY), name: [const { AtomicU64::new(0) }; 2] } };
            REMEMBERED];
        places[9].id.store(BUSY, Relaxed);
        keep(&places, 9, Name::new("nine"));
        assert_eq!(remembered(&places, 9), None);
        assert_eq!(places[9].id.load(Relaxed), BUSY);
    }
}
