//! Tests of the flat image: small ELF files made by hand, sound and broken.

use super::*;

const BASE: u64 = 0xffff_ffc0_0008_0000;
const KSYMS_AT: u64 = 0x100;
const KSYMS_BYTES: u64 = 0x80;

/// What a test may spoil.
struct Recipe {
    machine: u16,
    magic: [u8; 4],
    ksyms_symbols: bool,
    ksyms_bytes: u64,
    segment_file_bytes: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            machine: 183,
            magic: *b"ARM\x64",
            ksyms_symbols: true,
            ksyms_bytes: KSYMS_BYTES,
            segment_file_bytes: 0x200,
        }
    }
}

/// One segment with an Image header, two functions and a symbol block; offsets as in the comments.
fn elf(recipe: &Recipe) -> Vec<u8> {
    let mut strings = b"\0".to_vec();
    let mut symbols = vec![0u8; 24];
    let mut symbol = |name: &str, info: u8, section: u16, value: u64, size: u64| {
        let at = strings.len() as u32;
        strings.extend(name.as_bytes());
        strings.push(0);
        symbols.extend(at.to_le_bytes());
        symbols.extend([info, 0]);
        symbols.extend(section.to_le_bytes());
        symbols.extend(value.to_le_bytes());
        symbols.extend(size.to_le_bytes());
    };
    const GLOBAL_FUNCTION: u8 = 0x12;
    const GLOBAL_LABEL: u8 = 0x10;
    symbol("_text", GLOBAL_LABEL, 1, BASE, 0);
    symbol("_start", GLOBAL_FUNCTION, 1, BASE, 4);
    symbol("$x", 0, 1, BASE + 0x40, 0);
    symbol("_ZN5stint4task5spawn17h0123456789abcdefE", GLOBAL_FUNCTION, 1, BASE + 0x40, 16);
    symbol("stint_data", 0x11, 2, BASE + KSYMS_AT, 8);
    if recipe.ksyms_symbols {
        symbol("__ksyms_start", GLOBAL_LABEL, 2, BASE + KSYMS_AT, 0);
        symbol("__ksyms_end", GLOBAL_LABEL, 2, BASE + KSYMS_AT + recipe.ksyms_bytes, 0);
    }
    let mut segment = vec![0xaa; 0x200];
    segment[0x38..0x3c].copy_from_slice(&recipe.magic);

    const HEADERS: u64 = 64 + 56;
    let symbols_at = HEADERS + segment.len() as u64;
    let strings_at = symbols_at + symbols.len() as u64;
    let sections_at = strings_at + strings.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(2u16.to_le_bytes());
    file.extend(recipe.machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for word in [BASE, 64, sections_at] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 5, 4] {
        file.extend(half.to_le_bytes());
    }
    // The only program header: PT_LOAD, read and execute; physical addresses differ from virtual ones.
    file.extend(1u32.to_le_bytes());
    file.extend(5u32.to_le_bytes());
    for word in [HEADERS, BASE, 0x8_0000, recipe.segment_file_bytes, 0x200, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(&segment);
    file.extend(&symbols);
    file.extend(&strings);
    let mut section =
        |kind: u32, flags: u64, address: u64, offset: u64, size: u64, link: u32, info: u32, entry: u64| {
            file.extend(0u32.to_le_bytes());
            file.extend(kind.to_le_bytes());
            for word in [flags, address, offset, size] {
                file.extend(word.to_le_bytes());
            }
            file.extend(link.to_le_bytes());
            file.extend(info.to_le_bytes());
            for word in [8, entry] {
                file.extend(u64::to_le_bytes(word));
            }
        };
    section(0, 0, 0, 0, 0, 0, 0, 0);
    section(1, 6, BASE, HEADERS, KSYMS_AT, 0, 0, 0); // .text
    section(1, 2, BASE + KSYMS_AT, HEADERS + KSYMS_AT, 0x100, 0, 0, 0); // .ksyms
    section(2, 0, 0, symbols_at, symbols.len() as u64, 4, 1, 24); // .symtab
    section(3, 0, 0, strings_at, strings.len() as u64, 0, 0, 0); // .strtab
    file
}

fn refusal(recipe: &Recipe) -> String {
    format!("{:#}", flatten(&elf(recipe)).unwrap_err())
}

#[test]
fn the_symbol_block_is_filled_and_nothing_else_changes() {
    let (flat, report) = flatten(&elf(&Recipe::default())).unwrap();
    assert_eq!(flat.len(), 0x200);
    let block = KSYMS_AT as usize..(KSYMS_AT + KSYMS_BYTES) as usize;
    let symbols = ksyms::decode(&flat[block.clone()]).unwrap();
    let expected = [(0, "_start".to_owned()), (0x40, "stint::task::spawn".to_owned())];
    assert_eq!(symbols, BTreeMap::from(expected));
    assert_eq!(report.count, 2);
    for (at, byte) in flat.iter().enumerate() {
        if !block.contains(&at) && !(0x38..0x3c).contains(&at) {
            assert_eq!(*byte, 0xaa, "byte {at:#x} was changed");
        }
    }
}

#[test]
fn a_file_for_another_machine_is_refused() {
    let message = refusal(&Recipe { machine: 62, ..Recipe::default() });
    assert!(message.contains("not for AArch64"), "{message}");
    assert!(flatten(b"#!/bin/sh").is_err());
}

#[test]
fn a_missing_image_header_is_refused() {
    let message = refusal(&Recipe { magic: [0; 4], ..Recipe::default() });
    assert!(message.contains("no arm64 Image header"), "{message}");
}

#[test]
fn a_missing_symbol_block_is_refused() {
    let message = refusal(&Recipe { ksyms_symbols: false, ..Recipe::default() });
    assert!(message.contains("`__ksyms_start` is missing"), "{message}");
}

#[test]
fn a_symbol_block_without_bytes_in_the_file_is_refused() {
    let message = refusal(&Recipe { segment_file_bytes: 0x100, ..Recipe::default() });
    assert!(message.contains("no bytes in the file"), "{message}");
}

#[test]
fn a_symbol_block_that_is_too_small_is_refused() {
    let message = refusal(&Recipe { ksyms_bytes: 0x20, ..Recipe::default() });
    assert!(message.contains("too small"), "{message}");
    let message = refusal(&Recipe { ksyms_bytes: 0, ..Recipe::default() });
    assert!(message.contains("is empty"), "{message}");
}

#[test]
fn a_truncated_file_is_an_error_and_never_a_panic() {
    let whole = elf(&Recipe::default());
    for length in 0..whole.len() {
        assert!(flatten(&whole[..length]).is_err(), "{length} bytes were accepted");
    }
}
