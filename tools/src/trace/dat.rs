//! Writes `trace.dat`, version 6: what `trace-cmd report` and KernelShark read.
//!
//! The file describes itself: how a page and each event look, which address is which function, which number is which task;
//! then come, page-aligned, the ring-buffer pages of each CPU. All numbers are little-endian.
//!
//! Invariant: every entry of the text is a record of the file. One that has no binary form, or not the one that its name
//! promises, becomes an event of the same name in a system of its own, with its text as its one field, and is counted.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::events::{self, DEFINITIONS, Definition, OTHER_SYSTEM, Piece};
use super::record::{self, PLAIN_PATTERN, Value};
use super::ring::{DATA_BYTES, HEAD_BYTES, PAGE_BYTES, Pages};
use super::symbols::Symbols;
use super::text::{Entry, Trace};

const MAGIC: &[u8] = b"\x17\x08\x44tracing6\0";
const LITTLE_ENDIAN: u8 = 0;
const LONG_BYTES: u8 = 8;
/// Event numbers below this are taken by records of other kinds.
const FIRST_ID: u16 = 300;
/// The option that names the clock.
const OPTION_CLOCK: u16 = 4;
/// The clock in use is the one in brackets; a reader shows its times as seconds.
const CLOCK: &[u8] = b"[mono]\0";

/// A file, and what became of the text in it.
#[derive(Clone, Debug)]
pub struct File {
    /// The file.
    pub bytes: Vec<u8>,
    /// Entries that are there as text alone, by the name of their event.
    pub plain: BTreeMap<String, usize>,
    /// Functions whose address is made up, since the ELF does not have them, or there is none.
    pub made_up: usize,
    /// Tasks that had several names; the file can have one, the last.
    pub renamed: usize,
}

/// An entry with the form that it will have.
struct Formed<'a> {
    entry: &'a Entry,
    id: u16,
    pieces: &'a [Piece<'static>],
    values: Vec<Value<'a>>,
}

/// Makes the file. `linked` are the kernel's functions by their addresses, if its ELF is at hand.
#[must_use]
pub fn write(trace: &Trace, linked: &BTreeMap<u64, String>) -> File {
    let known: Vec<Vec<Piece<'static>>> =
        DEFINITIONS.iter().map(|definition| events::pieces(definition.pattern)).collect();
    let plain_pieces = events::pieces(PLAIN_PATTERN);
    let mut plain_ids: BTreeMap<&str, u16> = BTreeMap::new();
    let mut plain: BTreeMap<String, usize> = BTreeMap::new();
    let mut formed = Vec::with_capacity(trace.entries.len());
    for entry in &trace.entries {
        let defined = DEFINITIONS.iter().position(|definition| definition.name == entry.event);
        let values = defined.and_then(|at| record::take_apart(&known[at], &entry.payload).map(|v| (at, v)));
        formed.push(match values {
            Some((at, values)) => Formed { entry, id: FIRST_ID + at as u16, pieces: &known[at], values },
            None => {
                *plain.entry(entry.event.clone()).or_default() += 1;
                let next = FIRST_ID + (DEFINITIONS.len() + plain_ids.len()) as u16;
                let id = *plain_ids.entry(&entry.event).or_insert(next);
                Formed { entry, id, pieces: &plain_pieces, values: vec![Value::Text(&entry.payload)] }
            }
        });
    }
    let symbols = Symbols::new(&places(&formed), linked);
    let (tasks, renamed) = tasks(trace);

    let mut bytes = MAGIC.to_vec();
    bytes.extend([LITTLE_ENDIAN, LONG_BYTES]);
    bytes.extend((PAGE_BYTES as u32).to_le_bytes());
    bytes.extend(b"header_page\0");
    long_text(&mut bytes, &page_description());
    bytes.extend(b"header_event\0");
    long_text(&mut bytes, HEADER_EVENT);
    // No formats of tracers: the file has events alone.
    bytes.extend(0u32.to_le_bytes());
    systems(&mut bytes, &plain_ids);
    short_text(&mut bytes, &symbols.table());
    // Formats of messages that are kept outside of the buffer: none.
    short_text(&mut bytes, "");
    long_text(&mut bytes, &tasks);
    bytes.extend(trace.cpus.to_le_bytes());
    bytes.extend(b"options  \0");
    bytes.extend(OPTION_CLOCK.to_le_bytes());
    bytes.extend((CLOCK.len() as u32).to_le_bytes());
    bytes.extend(CLOCK);
    bytes.extend(0u16.to_le_bytes());
    bytes.extend(b"flyrecord\0");
    buffers(&mut bytes, &pages(trace.cpus, &formed, &symbols));
    File { bytes, plain, made_up: symbols.made_up(), renamed }
}

/// Every function that is named, with the largest offset in it.
fn places<'a>(formed: &[Formed<'a>]) -> BTreeMap<&'a str, u64> {
    let mut used = BTreeMap::new();
    for value in formed.iter().flat_map(|formed| &formed.values) {
        if let Value::Place { name, offset } = *value {
            used.entry(name).and_modify(|known: &mut u64| *known = offset.max(*known)).or_insert(offset);
        }
    }
    used
}

/// A line with number and name for each task but the idle ones, and how many had more than one name.
fn tasks(trace: &Trace) -> (String, usize) {
    let mut names: BTreeMap<i32, (&str, bool)> = BTreeMap::new();
    for entry in trace.entries.iter().filter(|entry| entry.pid != 0) {
        names
            .entry(entry.pid)
            .and_modify(|(name, renamed)| {
                *renamed |= *name != entry.comm;
                *name = &entry.comm;
            })
            .or_insert((&entry.comm, false));
    }
    let renamed = names.values().filter(|(_, renamed)| *renamed).count();
    (names.iter().map(|(pid, (name, _))| format!("{pid} {name}\n")).collect(), renamed)
}

fn systems(bytes: &mut Vec<u8>, plain_ids: &BTreeMap<&str, u16>) {
    let defined = |at: usize, definition: &Definition| {
        events::description(definition.name, FIRST_ID + at as u16, definition.pattern)
    };
    let mut systems: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (at, definition) in DEFINITIONS.iter().enumerate() {
        systems.entry(definition.system).or_default().push(defined(at, definition));
    }
    for (name, id) in plain_ids {
        let description = events::description(name, *id, PLAIN_PATTERN);
        systems.entry(OTHER_SYSTEM).or_default().push(description);
    }
    bytes.extend((systems.len() as u32).to_le_bytes());
    for (system, descriptions) in systems {
        bytes.extend(system.bytes().chain([0]));
        bytes.extend((descriptions.len() as u32).to_le_bytes());
        descriptions.iter().for_each(|description| long_text(bytes, description));
    }
}

/// The pages of each CPU.
fn pages(cpus: u32, formed: &[Formed<'_>], symbols: &Symbols) -> Vec<Vec<u8>> {
    let mut pages: Vec<Pages> = (0..cpus).map(|_| Pages::default()).collect();
    for Formed { entry, id, pieces, values } in formed {
        let record = record::encode(entry, *id, pieces, values, symbols);
        // The reader of the text has seen to it that there are as many CPUs.
        pages[entry.cpu as usize].push(entry.ns, entry.lost, &record);
    }
    pages.into_iter().map(Pages::finish).collect()
}

/// Where each CPU's pages are and how long, then the pages.
fn buffers(bytes: &mut Vec<u8>, buffers: &[Vec<u8>]) {
    let table_bytes = buffers.len() * 16;
    let mut at = (bytes.len() + table_bytes).next_multiple_of(PAGE_BYTES);
    for buffer in buffers {
        bytes.extend((at as u64).to_le_bytes());
        bytes.extend((buffer.len() as u64).to_le_bytes());
        at += buffer.len();
    }
    bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES), 0);
    buffers.iter().for_each(|buffer| bytes.extend(buffer));
}

fn short_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.bytes());
}

fn long_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.bytes());
}

/// What a page begins with.
fn page_description() -> String {
    format!(
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\
         \tfield: local_t commit;\toffset:8;\tsize:{LONG_BYTES};\tsigned:1;\n\
         \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n\
         \tfield: char data;\toffset:{HEAD_BYTES};\tsize:{DATA_BYTES};\tsigned:1;\n"
    )
}

/// What a record begins with.
const HEADER_EVENT: &str = "# compressed entry header
\ttype_len    :    5 bits
\ttime_delta  :   27 bits
\tarray       :   32 bits

\tpadding     : type == 29
\ttime_extend : type == 30
\ttime_stamp : type == 31
\tdata max type_len  == 28
";

#[cfg(test)]
#[path = "dat_tests.rs"]
mod tests;
