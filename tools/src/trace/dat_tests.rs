//! The file as a whole; what trace-cmd makes of it is tried in tests/qemu/trace.rs.

use super::*;
use crate::trace::text;

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Where the table of the CPUs' pages begins.
fn table(bytes: &[u8]) -> usize {
    let mark = b"flyrecord\0";
    bytes.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len()
}

fn example() -> Trace {
    text::read(include_bytes!("../../../tests/data/trace-example.txt")).unwrap()
}

#[test]
fn the_file_begins_with_its_kind_and_every_cpu_has_whole_pages() {
    let trace = example();
    let bytes = write(&trace, &BTreeMap::new()).bytes;
    assert_eq!(bytes[..16], *b"\x17\x08\x44tracing6\0\x00\x08\x00\x10");
    let table = table(&bytes);
    let mut end = (table + 16 * trace.cpus as usize).next_multiple_of(PAGE_BYTES);
    for cpu in 0..trace.cpus as usize {
        let (at, length) = (long(&bytes, table + 16 * cpu), long(&bytes, table + 16 * cpu + 8));
        assert_eq!(at as usize, end, "CPU {cpu}");
        assert!(length.is_multiple_of(PAGE_BYTES as u64));
        end += length as usize;
    }
    assert_eq!(end, bytes.len());
}

#[test]
fn every_event_of_the_example_has_a_binary_form_but_those_that_have_none() {
    let trace = example();
    let file = write(&trace, &BTreeMap::new());
    let expected: BTreeMap<String, usize> =
        [("stint_marker", 1), ("sched_waking", 1)].map(|(name, count)| (name.to_owned(), count)).into();
    assert_eq!(file.plain, expected);
    for definition in DEFINITIONS {
        assert!(trace.entries.iter().any(|entry| entry.event == definition.name), "{}", definition.name);
    }
}

#[test]
fn the_addresses_of_a_kernel_are_used() {
    let mut trace = example();
    trace.entries.retain(|entry| entry.event == "hrtimer_expire_entry");
    let function = trace.entries[0].payload.split("function=").nth(1).unwrap().split(' ').next().unwrap();
    let linked = BTreeMap::from([(0x4020_1000, function.to_owned()), (0x4020_2000, "next".to_owned())]);
    let file = write(&trace, &linked);
    assert_eq!(file.made_up, 0);
    assert!(file.bytes.windows(16).any(|window| window == b"0000000040201000"));
    assert!(file.bytes.windows(8).any(|window| window == 0x4020_1000u64.to_le_bytes()));
}

#[test]
fn a_task_with_two_names_is_counted_and_has_the_last() {
    let trace = text::read(
        b"# tracer: nop\n a-9 [000] .... 1.0: x: 1\n b-9 [000] .... 2.0: x: 2\n c-10 [000] .... 3.0: x: 3\n",
    )
    .unwrap();
    assert_eq!(tasks(&trace), ("9 b\n10 c\n".to_owned(), 1));
}
