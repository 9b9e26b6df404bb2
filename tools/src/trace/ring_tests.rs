//! Whatever is put into pages comes out of them again.

use super::*;
use proptest::prelude::*;

/// A record as a reader finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    ns: u64,
    lost: u64,
    record: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Reads pages by the rules that are written down for readers, and not by what the writer does.
fn read(bytes: &[u8]) -> Vec<Found> {
    assert!(bytes.len().is_multiple_of(PAGE_BYTES));
    let mut found = Vec::new();
    for page in bytes.chunks(PAGE_BYTES) {
        let mut ns = long(page, 0);
        let marks = long(page, 8);
        let used = (marks & 0xfffff) as usize;
        let data = &page[HEAD_BYTES..];
        let mut lost = 0;
        if marks & MISSED != 0 {
            lost = if marks & MISSED_COUNTED != 0 { long(data, used) } else { u64::MAX };
        }
        let mut at = 0;
        while at < used {
            let head = word(data, at);
            let (what, delta) = (head & 31, u64::from(head >> 5));
            at += 4;
            let length = match what {
                TIME_EXTEND => {
                    ns += delta + (u64::from(word(data, at)) << 27);
                    at += 4;
                    continue;
                }
                0 => {
                    at += 4;
                    word(data, at - 4) as usize - 4
                }
                1..=28 => what as usize * 4,
                other => panic!("nothing is written as {other}"),
            };
            ns += delta;
            found.push(Found { ns, lost, record: data[at..at + length].to_vec() });
            lost = 0;
            at += length;
        }
        assert_eq!(at, used, "the last record of a page ends where its length says");
    }
    found
}

fn padded(record: &[u8]) -> Vec<u8> {
    let mut record = record.to_vec();
    record.resize(record.len().next_multiple_of(4), 0);
    record
}

fn written(records: &[(u64, u64, Vec<u8>)]) -> Vec<u8> {
    let mut pages = Pages::default();
    records.iter().for_each(|(ns, lost, record)| pages.push(*ns, *lost, record));
    pages.finish()
}

#[test]
fn the_bytes_of_a_short_page_are_these() {
    let bytes = written(&[(1000, 0, vec![1, 2, 3, 4]), (1007, 0, vec![5; 5])]);
    assert_eq!(bytes.len(), PAGE_BYTES);
    assert_eq!(long(&bytes, 0), 1000);
    assert_eq!(long(&bytes, 8), 4 + 4 + 4 + 8);
    assert_eq!(bytes[16..24], [1, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(bytes[24..36], [2 | 7 << 5, 0, 0, 0, 5, 5, 5, 5, 5, 0, 0, 0]);
}

#[test]
fn the_largest_delta_fits_and_one_more_is_extended() {
    let largest = (1 << 27) - 1;
    let plain = written(&[(0, 0, vec![1; 4]), (largest, 0, vec![2; 4])]);
    assert_eq!(long(&plain, 8), 16);
    let extended = written(&[(0, 0, vec![1; 4]), (largest + 1, 0, vec![2; 4])]);
    assert_eq!(long(&extended, 8), 24);
    assert_eq!(read(&extended)[1].ns, largest + 1);
}

#[test]
fn a_page_is_filled_to_its_last_byte() {
    let exact = written(&vec![(0, 0, vec![7; 4]); DATA_BYTES / 8]);
    assert_eq!((exact.len(), long(&exact, 8)), (PAGE_BYTES, DATA_BYTES as u64));
    let more = written(&vec![(0, 0, vec![7; 4]); DATA_BYTES / 8 + 1]);
    assert_eq!((more.len(), long(&more, PAGE_BYTES + 8)), (2 * PAGE_BYTES, 8));
}

#[test]
fn a_time_extension_is_not_parted_from_its_record() {
    let mut records = vec![(0, 0, vec![7; 4]); DATA_BYTES / 8 - 1];
    records.push((1 << 40, 0, vec![8; 4]));
    let found = read(&written(&records));
    assert_eq!(found.last().unwrap().ns, 1 << 40);
}

#[test]
fn lost_events_begin_a_page_and_are_counted_where_there_is_room() {
    let records = [(5, 0, vec![1; 4]), (6, 17, vec![2; 4]), (7, 3, vec![3; DATA_BYTES - 8])];
    let bytes = written(&records);
    assert_eq!(bytes.len(), 3 * PAGE_BYTES);
    let lost: Vec<_> = read(&bytes).iter().map(|found| found.lost).collect();
    assert_eq!(lost, [0, 17, u64::MAX]);
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        records in proptest::collection::vec(
            (
                prop_oneof![0u64..2000, (1u64 << 27) - 2..(1 << 27) + 2, 0u64..1 << 61],
                prop_oneof![9 => Just(0u64), 1 => 1u64..1000],
                proptest::collection::vec(any::<u8>(), 1..200),
            ),
            0..200,
        ),
    ) {
        let mut now = 0u64;
        let records: Vec<_> = records
            .into_iter()
            .map(|(delta, lost, record)| {
                now = now.saturating_add(delta);
                (now, lost, record)
            })
            .collect();
        let found = read(&written(&records));
        prop_assert_eq!(found.len(), records.len());
        for (found, (ns, lost, record)) in found.iter().zip(&records) {
            prop_assert_eq!(found.ns, *ns);
            prop_assert_eq!(&found.record, &padded(record));
            prop_assert!(found.lost == *lost || found.lost == u64::MAX && *lost > 0);
        }
    }
}
