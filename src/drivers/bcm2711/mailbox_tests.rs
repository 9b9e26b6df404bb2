//! A firmware behind two words of registers, which sees memory and not the CPU's caches.

use std::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;

use super::*;

const BUS: u32 = 0xc012_3440;

/// What the firmware does with a question.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Answers,
    /// As real firmware treats a tag it does not know.
    KnowsNothing,
    /// As QEMU does.
    KnowsNothingAndSaysOtherwise,
    /// Two bytes, whatever is asked.
    IsShort,
    Refuses,
    Sleeps,
}

struct World {
    memory: [u32; WORDS],
    to_arm: Vec<u32>,
    mood: Mood,
    /// Answers held back until somebody lets them go.
    held: Vec<u32>,
    /// Looks at a full queue before there is room.
    full_for: u32,
    calls: u32,
}

#[derive(Clone)]
struct Fake(Rc<RefCell<World>>);

impl Fake {
    fn new(mood: Mood) -> Self {
        Self(Rc::new(RefCell::new(World {
            // What was there before must have gone.
            memory: [0xdead_0002; WORDS],
            to_arm: Vec::new(),
            mood,
            held: Vec::new(),
            full_for: 0,
            calls: 0,
        })))
    }

    fn mailbox(&self) -> Mailbox<Self, Memory> {
        Mailbox::new(self.clone(), Memory { cache: [0xdead_0001; WORDS], fake: self.clone() })
    }
}

impl World {
    fn serve(&mut self, word: u32) {
        assert_eq!(word, BUS | 8, "the property channel and our buffer");
        self.calls += 1;
        let m = &mut self.memory;
        assert_eq!((m[1], m[4]), (0, 0), "a request, seen in memory");
        let (tag, size) = (m[2], m[3] as usize);
        assert_eq!(m[0] as usize, (HEAD * 4) + size + 4);
        assert_eq!(m[HEAD + size / 4], 0, "the end tag");
        m[1] = 0x8000_0000;
        match self.mood {
            Mood::Answers => {
                m[4] = 0x8000_0000 | size as u32;
                // The first value stays, as an id does; the second says which tag it was.
                m[HEAD + 1] = tag + 1;
            }
            Mood::KnowsNothing => {}
            Mood::KnowsNothingAndSaysOtherwise => m[4] = 0x8000_0000,
            Mood::IsShort => m[4] = 0x8000_0002,
            Mood::Refuses => m[1] = 0x8000_0001,
            Mood::Sleeps => return self.held.push(word),
        }
        self.to_arm.push(word);
    }
}

impl Registers for Fake {
    fn read(&self, offset: usize) -> u32 {
        let mut world = self.0.borrow_mut();
        match offset {
            MBOX0_STATUS => {
                if world.to_arm.is_empty() {
                    EMPTY
                } else {
                    0
                }
            }
            MBOX0_READ => world.to_arm.remove(0),
            MBOX1_STATUS if world.full_for > 0 => {
                world.full_for -= 1;
                FULL
            }
            MBOX1_STATUS => 0,
            _ => panic!("{offset:#x} is not read"),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        assert_eq!(offset, MBOX1_WRITE);
        let mut world = self.0.borrow_mut();
        assert_eq!(world.full_for, 0, "written to a full queue");
        world.serve(value);
    }
}

/// The buffer as the CPU sees it: a cache that writes back and reads again when it is told to, and only then.
struct Memory {
    cache: [u32; WORDS],
    fake: Fake,
}

impl Shared for Memory {
    fn bus_address(&self) -> u32 {
        BUS
    }

    fn words(&mut self) -> &mut [u32; WORDS] {
        &mut self.cache
    }

    fn hand_over(&mut self) {
        self.fake.0.borrow_mut().memory = self.cache;
        // What a speculative read would bring in again is stale.
        self.cache = [0xdead_0003; WORDS];
    }

    fn take_back(&mut self) {
        self.cache = self.fake.0.borrow().memory;
    }
}

#[test]
fn an_answer_comes_through_the_caches() {
    let fake = Fake::new(Mood::Answers);
    let mut mailbox = fake.mailbox();
    assert_eq!(mailbox.property::<2>(0x30002, &[3], 8), Ok([3, 0x30003]));
    assert_eq!(mailbox.property::<2>(0x30006, &[0], 8), Ok([0, 0x30007]));
}

#[test]
fn a_tag_that_is_not_known_is_an_error_however_the_firmware_says_it() {
    for mood in [Mood::KnowsNothing, Mood::KnowsNothingAndSaysOtherwise] {
        let answer = Fake::new(mood).mailbox().property::<2>(0x30047, &[3], 8);
        assert_eq!(answer, Err(MailboxError::Unknown { tag: 0x30047 }));
    }
}

#[test]
fn an_answer_that_is_too_short_is_none() {
    let answer = Fake::new(Mood::IsShort).mailbox().property::<2>(0x10003, &[], 6);
    assert_eq!(answer, Err(MailboxError::Short { tag: 0x10003, expected: 6, found: 2 }));
}

#[test]
fn a_refusal_names_its_code() {
    let answer = Fake::new(Mood::Refuses).mailbox().property::<1>(1, &[], 4);
    assert_eq!(answer, Err(MailboxError::Refused { tag: 1, code: 0x8000_0001 }));
}

#[test]
fn answers_to_others_are_thrown_away() {
    let fake = Fake::new(Mood::Answers);
    fake.0.borrow_mut().to_arm = std::vec![0x0000_0010, BUS | 1, 0xffff_fff8];
    fake.0.borrow_mut().full_for = 30;
    assert_eq!(fake.mailbox().property::<2>(0x30002, &[1], 8), Ok([1, 0x30003]));
    assert!(fake.0.borrow().to_arm.is_empty(), "the first word was taken for the answer");
}

#[test]
fn a_late_answer_is_not_taken_for_that_of_the_next_call() {
    let fake = Fake::new(Mood::Sleeps);
    let mut mailbox = fake.mailbox();
    assert_eq!(mailbox.property::<1>(7, &[], 4), Err(MailboxError::TimedOut { tag: 7 }));
    // Still nothing: the next call does not touch the buffer, which is the firmware's.
    assert_eq!(mailbox.property::<1>(8, &[], 4), Err(MailboxError::TimedOut { tag: 8 }));
    assert_eq!(fake.0.borrow().calls, 1);
    {
        let mut world = fake.0.borrow_mut();
        let late = world.held.remove(0);
        world.to_arm.push(late);
        world.mood = Mood::Answers;
    }
    assert_eq!(mailbox.property::<2>(0x10005, &[9], 8), Ok([9, 0x10006]));
    assert!(fake.0.borrow().to_arm.is_empty());
}
