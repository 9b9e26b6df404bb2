//! The kernel's own symbol table, by which a panic names the functions in its back-trace.
//!
//! The linker reserves a block (`__ksyms_start .. __ksyms_end`); it is filled here, after the link, because
//! only then the addresses are known. Layout, little endian:
//!
//! ```text
//! u32 magic "KSYM"    u32 count    count × { u32 address - _text, u32 name offset }    names, each ending in NUL
//! ```
//!
//! Invariant: entries are sorted by address and each address occurs once, so the kernel finds a function by
//! binary search. Name offsets count from the first byte of the names. The block never overflows: names are
//! shortened until they fit, from the front, because the last segments of a Rust path say the most.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail, ensure};

/// "KSYM" as a little-endian word.
pub const MAGIC: u32 = 0x4d59_534b;
/// Magic and count.
const HEADER_BYTES: usize = 8;
/// One entry of the sorted table.
const ENTRY_BYTES: usize = 8;
/// Longest names tried, one after the other, until the block holds them all.
const NAME_LIMITS: [usize; 7] = [400, 160, 100, 72, 48, 32, 20];

/// What filling the block came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Functions in the table.
    pub count: usize,
    /// Names that had to be shortened.
    pub shortened: usize,
    /// Longest name allowed, in bytes.
    pub name_limit_bytes: usize,
    /// Bytes used of the block.
    pub used_bytes: usize,
    /// Size of the block.
    pub block_bytes: usize,
}

impl Report {
    /// A remark worth printing, if names were cut harder than a reader would like.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        (self.name_limit_bytes < NAME_LIMITS[0]).then(|| {
            format!(
                "{} of {} function names were cut to {} bytes to fit the .ksyms block of {} KiB; \
                 enlarge the block in linker/kernel.ld to keep them whole",
                self.shortened,
                self.count,
                self.name_limit_bytes,
                self.block_bytes / 1024
            )
        })
    }
}

/// Makes a mangled name readable: demangled, without the hash.
#[must_use]
pub fn readable(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

/// Keeps the end of a name that is longer than `limit` bytes.
fn shorten(name: &str, limit: usize) -> &str {
    if name.len() <= limit {
        return name;
    }
    let mut from = name.len() - limit;
    while !name.is_char_boundary(from) {
        from += 1;
    }
    // Rather begin at a path segment than in the middle of a word, if that costs little.
    match name[from..].find("::") {
        Some(at) if at < limit / 3 => &name[from + at + 2..],
        _ => &name[from..],
    }
}

/// Writes the table for `symbols` (address relative to `_text` → readable name) into `block_bytes` bytes.
///
/// # Errors
/// When even the shortest names do not fit; the message says how large the block would have to be.
pub fn encode(symbols: &BTreeMap<u32, String>, block_bytes: usize) -> Result<(Vec<u8>, Report)> {
    let table_bytes = HEADER_BYTES + symbols.len() * ENTRY_BYTES;
    let mut need_bytes = 0;
    for limit in NAME_LIMITS {
        let (offsets, names) = name_blob(symbols, limit);
        need_bytes = table_bytes + names.len();
        if need_bytes > block_bytes {
            continue;
        }
        let mut block = Vec::with_capacity(block_bytes);
        block.extend(MAGIC.to_le_bytes());
        block.extend(word(symbols.len())?.to_le_bytes());
        for (address, name_offset) in symbols.keys().zip(&offsets) {
            block.extend(address.to_le_bytes());
            block.extend(word(*name_offset)?.to_le_bytes());
        }
        block.extend(&names);
        block.resize(block_bytes, 0);
        let report = Report {
            count: symbols.len(),
            shortened: symbols.values().filter(|name| name.len() > limit).count(),
            name_limit_bytes: limit,
            used_bytes: need_bytes,
            block_bytes,
        };
        return Ok((block, report));
    }
    bail!(
        "the .ksyms block of {block_bytes} bytes is too small for {} functions: at least {need_bytes} bytes \
         are needed; enlarge it in linker/kernel.ld",
        symbols.len()
    );
}

/// All names behind one another, equal ones once, and where each symbol's name begins.
fn name_blob(symbols: &BTreeMap<u32, String>, limit: usize) -> (Vec<usize>, Vec<u8>) {
    let mut names = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    let offsets = symbols
        .values()
        .map(|full| {
            let name = shorten(full, limit);
            *known.entry(name).or_insert_with(|| {
                let at = names.len();
                names.extend(name.bytes().filter(|byte| *byte != 0));
                names.push(0);
                at
            })
        })
        .collect();
    (offsets, names)
}

fn word(value: usize) -> Result<u32> {
    u32::try_from(value).with_context(|| format!("{value} does not fit the 32 bits of a .ksyms field"))
}

/// Reads a table back: what the kernel does, for tests and for looking at an image.
///
/// # Errors
/// When the block is not a table.
pub fn decode(block: &[u8]) -> Result<BTreeMap<u32, String>> {
    let at = |offset: usize| -> Result<u32> {
        let bytes = block.get(offset..offset + 4).context("the .ksyms block ends in the middle of a word")?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    };
    ensure!(
        at(0)? == MAGIC,
        "the .ksyms block begins with {:#x}, not with {MAGIC:#x}: it was never filled",
        at(0)?
    );
    let count = at(4)? as usize;
    let names = count
        .checked_mul(ENTRY_BYTES)
        .and_then(|bytes| block.get(HEADER_BYTES + bytes..))
        .with_context(|| format!("the .ksyms block claims {count} entries, more than it can hold"))?;
    let mut symbols = BTreeMap::new();
    for entry in 0..count {
        let address = at(HEADER_BYTES + entry * ENTRY_BYTES)?;
        let name_offset = at(HEADER_BYTES + entry * ENTRY_BYTES + 4)? as usize;
        let name = names.get(name_offset..).context("a name of the .ksyms block lies outside of it")?;
        let length =
            name.iter().position(|byte| *byte == 0).context("a name of the .ksyms block has no end")?;
        symbols.insert(address, String::from_utf8_lossy(&name[..length]).into_owned());
    }
    Ok(symbols)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(entries: &[(u32, &str)]) -> BTreeMap<u32, String> {
        entries.iter().map(|(address, name)| (*address, (*name).to_owned())).collect()
    }

    #[test]
    fn a_table_reads_back_as_it_was_written() {
        let symbols = table(&[(0, "_start"), (0x40, "stint::sched::core::__schedule"), (0x200, "_start")]);
        let (block, report) = encode(&symbols, 4096).unwrap();
        assert_eq!(block.len(), 4096);
        assert_eq!(decode(&block).unwrap(), symbols);
        assert_eq!((report.count, report.shortened, report.note()), (3, 0, None));
    }

    #[test]
    fn the_layout_is_the_one_the_kernel_reads() {
        let (block, _) = encode(&table(&[(0x10, "a"), (0x20, "bc")]), 32).unwrap();
        let mut expected = b"KSYM".to_vec();
        for word in [2u32, 0x10, 0, 0x20, 2] {
            expected.extend(word.to_le_bytes());
        }
        expected.extend(b"a\0bc\0");
        expected.resize(32, 0);
        assert_eq!(block, expected);
    }

    #[test]
    fn long_names_lose_their_front_and_the_report_says_so() {
        let long = format!("{}::stint::task::spawn", "x".repeat(300));
        let symbols = table(&[(0, &long), (4, "short")]);
        let (block, report) = encode(&symbols, 160).unwrap();
        let read = decode(&block).unwrap();
        assert!(read[&0].ends_with("stint::task::spawn"), "{}", read[&0]);
        assert_eq!(read[&4], "short");
        assert_eq!(report.shortened, 1);
        assert!(report.note().unwrap().contains("1 of 2 function names"));
    }

    #[test]
    fn a_block_that_cannot_hold_the_table_is_refused_with_both_sizes() {
        let symbols: BTreeMap<u32, String> = (0..100).map(|n| (n, format!("function_{n}"))).collect();
        let message = encode(&symbols, 512).unwrap_err().to_string();
        assert!(message.contains("512 bytes") && message.contains("100 functions"), "{message}");
    }

    #[test]
    fn a_mangled_name_loses_its_hash() {
        assert_eq!(readable("_ZN5stint4task5spawn17h0123456789abcdefE"), "stint::task::spawn");
        assert_eq!(readable("cpu_switch_to"), "cpu_switch_to");
    }

    #[test]
    fn an_unfilled_block_is_not_a_table() {
        assert!(decode(&[0; 64]).unwrap_err().to_string().contains("never filled"));
    }

    proptest! {
        #[test]
        fn any_symbols_read_back_when_the_block_is_large(
            symbols in proptest::collection::btree_map(any::<u32>(), "[a-z_:<>]{1,40}", 0..60)
        ) {
            let (block, _) = encode(&symbols, 8192).unwrap();
            prop_assert_eq!(decode(&block).unwrap(), symbols);
        }

        #[test]
        fn reading_garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut block = MAGIC.to_le_bytes().to_vec();
            block.extend(bytes);
            let _ = decode(&block);
        }

        #[test]
        fn shortening_keeps_an_end_of_the_name(name in "\\PC{0,60}", limit in 4usize..40) {
            let short = shorten(&name, limit);
            prop_assert!(name.ends_with(short) && short.len() <= limit.max(name.len().min(limit)));
        }
    }
}
