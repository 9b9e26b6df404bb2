//! The kernel's own symbol table: what address is in which function.
//!
//! The linker script reserves a block, `.ksyms`; `stint-tools image` fills it after the link with sorted
//! (offset, name) pairs. An image that was not filled says so and prints bare addresses.
//!
//! Context: any, also a panic: reads only memory that is always mapped, and checks every index.

use core::fmt;

const MAGIC: u32 = 0x4d59_534b;

#[cfg(target_os = "none")]
unsafe extern "C" {
    static _text: u8;
    static _etext: u8;
    static __ksyms_start: u8;
    static __ksyms_end: u8;
}

/// The block, or nothing on a PC.
fn block() -> &'static [u8] {
    #[cfg(target_os = "none")]
    {
        let start = &raw const __ksyms_start;
        let end = (&raw const __ksyms_end).addr();
        // SAFETY: linker symbols around read-only data that is part of the image.
        unsafe { core::slice::from_raw_parts(start, end - start.addr()) }
    }
    #[cfg(not(target_os = "none"))]
    &[]
}

fn text_start() -> u64 {
    #[cfg(target_os = "none")]
    return (&raw const _text).addr() as u64;
    #[cfg(not(target_os = "none"))]
    0
}

/// Whether `address` is in the kernel's text.
#[must_use]
pub fn is_text(address: u64) -> bool {
    #[cfg(target_os = "none")]
    return (text_start()..(&raw const _etext).addr() as u64).contains(&address);
    #[cfg(not(target_os = "none"))]
    {
        let _ = address;
        false
    }
}

fn word(block: &[u8], index: usize) -> Option<u32> {
    let bytes = block.get(index * 4..index * 4 + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The function that `offset` (from the start of the text) is in, and how far into it.
fn lookup(block: &[u8], offset: u32) -> Option<(&str, u32)> {
    if word(block, 0)? != MAGIC {
        return None;
    }
    let count = word(block, 1)? as usize;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if word(block, 2 + 2 * middle)? <= offset { low = middle + 1 } else { high = middle }
    }
    let entry = low.checked_sub(1)?;
    let start = word(block, 2 + 2 * entry)?;
    let names = block.get(8 + 8 * count..)?;
    let name = names.get(word(block, 3 + 2 * entry)? as usize..)?;
    let end = name.iter().position(|&byte| byte == 0)?;
    Some((core::str::from_utf8(&name[..end]).ok()?, offset - start))
}

/// An address that prints as `function+0x12 (0xffff…)`, and with `{:#}` as `function+0x12`.
#[derive(Clone, Copy, Debug)]
pub struct Symbol(pub u64);

/// A return address that prints as the call before it, in the same two ways: the function after a call that never returns
/// may be another one.
#[derive(Clone, Copy, Debug)]
pub struct ReturnAddress(pub u64);

/// Prints `address` with the function that `address - back` is in.
fn print(f: &mut fmt::Formatter<'_>, address: u64, back: u64) -> fmt::Result {
    let inside = address.wrapping_sub(back);
    let found = if is_text(inside) { lookup(block(), (inside - text_start()) as u32) } else { None };
    match found {
        Some((name, into)) if f.alternate() => write!(f, "{name}+{:#x}", u64::from(into) + back),
        Some((name, into)) => write!(f, "{name}+{:#x} ({address:#018x})", u64::from(into) + back),
        None => write!(f, "{address:#018x}"),
    }
}

/// An address that prints as one word, `function+0x12`, blanks in its name left out: for traces.
#[derive(Clone, Copy, Debug)]
pub struct Word(pub u64);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.0.wrapping_sub(text_start()) as u32;
        let Some((name, into)) = is_text(self.0).then(|| lookup(block(), offset)).flatten() else {
            return write!(f, "{:#x}", self.0);
        };
        for part in name.split(|c: char| c.is_whitespace() || c == '=') {
            f.write_str(part)?;
        }
        if into == 0 { Ok(()) } else { write!(f, "+{into:#x}") }
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, 0)
    }
}

impl fmt::Display for ReturnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn table(entries: &[(u32, &str)]) -> Vec<u8> {
        let mut names = Vec::new();
        let mut block: Vec<u8> = [MAGIC, entries.len() as u32].iter().flat_map(|w| w.to_le_bytes()).collect();
        for (offset, name) in entries {
            block.extend(offset.to_le_bytes());
            block.extend((names.len() as u32).to_le_bytes());
            names.extend(name.as_bytes());
            names.push(0);
        }
        block.extend(names);
        block
    }

    #[test]
    fn an_address_is_in_the_last_function_that_begins_before_it() {
        let block = table(&[(0, "first"), (0x40, "second"), (0x100, "third")]);
        assert_eq!(lookup(&block, 0), Some(("first", 0)));
        assert_eq!(lookup(&block, 0x3f), Some(("first", 0x3f)));
        assert_eq!(lookup(&block, 0x40), Some(("second", 0)));
        assert_eq!(lookup(&block, 0x5000), Some(("third", 0x4f00)));
    }

    #[test]
    fn a_block_that_is_empty_or_cut_short_knows_nothing() {
        assert_eq!(lookup(&[], 5), None);
        assert_eq!(lookup(&[0; 64], 5), None);
        let block = table(&[(0, "first"), (0x40, "second")]);
        for len in 0..block.len() {
            let _ = lookup(&block[..len], 0x41);
        }
    }
}
