//! Turns the linked ELF into the flat file that boots: `stint-tools image <elf> <out.img>`.
//!
//! Invariant: the flat file is the memory image from the first loaded byte to the last initialised one, with
//! the symbol block filled (see [`crate::ksyms`]) and nothing else changed. It begins with an arm64 Image
//! header; a file without one would be entered without a device tree, so it is refused here.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{ElfFile, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

use crate::ksyms;

/// Offset of the magic word in an arm64 Image header.
const IMAGE_MAGIC_OFFSET: usize = 0x38;
const IMAGE_MAGIC: &[u8; 4] = b"ARM\x64";
/// A gap between segments larger than this is a mistake in the linker script, not padding.
const LARGEST_IMAGE_BYTES: u64 = 64 << 20;

/// What went into a flat file.
#[derive(Clone, Debug)]
pub struct Report {
    /// Size of the file.
    pub bytes: usize,
    /// The symbol table in it.
    pub symbols: ksyms::Report,
}

/// One loaded segment: where it runs, where it lies in the flat file, and how much of it is initialised.
struct Segment {
    address: u64,
    flat_offset: usize,
    file_bytes: usize,
}

/// Converts `elf` and writes `out`, making its directory if need be.
///
/// # Errors
/// When a file cannot be read or written, or the ELF is not a kernel image (see [`flatten`]).
pub fn convert(elf: &Path, out: &Path) -> Result<Report> {
    let data = read(elf)?;
    let (flat, symbols) =
        flatten(&data).with_context(|| format!("{} cannot be made into an image", elf.display()))?;
    write(out, &flat)?;
    Ok(Report { bytes: flat.len(), symbols })
}

/// As [`convert`], for an image that has no symbol table and wants none.
///
/// # Errors
/// When a file cannot be read or written, or it is no arm64 Image.
pub fn convert_without_symbols(elf: &Path, out: &Path) -> Result<()> {
    let data = read(elf)?;
    let file = parse(&data).with_context(|| format!("{} cannot be made into an image", elf.display()))?;
    let (flat, _) = load(&file, &data)?;
    check_header(&flat)?;
    write(out, &flat)
}

fn read(elf: &Path) -> Result<Vec<u8>> {
    std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))
}

fn write(out: &Path, flat: &[u8]) -> Result<()> {
    if let Some(dir) = out.parent() {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the directory {}", dir.display()))?;
    }
    std::fs::write(out, flat).with_context(|| format!("cannot write {}", out.display()))
}

fn parse(data: &[u8]) -> Result<ElfFile<'_, FileHeader64<Endianness>>> {
    let file = ElfFile::<FileHeader64<Endianness>>::parse(data).context("it is not a 64-bit ELF file")?;
    ensure!(
        file.architecture() == object::Architecture::Aarch64,
        "it is for {:?}, not for AArch64: build it with --target {}",
        file.architecture(),
        crate::cargo::TARGET
    );
    Ok(file)
}

/// The functions of a linked kernel by the addresses that they run at.
///
/// # Errors
/// When the file cannot be read, or is not a kernel's ELF.
pub fn functions_of(elf: &Path) -> Result<BTreeMap<u64, String>> {
    let data = read(elf)?;
    let file = parse(&data).with_context(|| format!("{} has no functions", elf.display()))?;
    let text = symbol_address(&file, "_text")?;
    Ok(functions(&file)?.into_iter().map(|(offset, name)| (text + u64::from(offset), name)).collect())
}

/// Whether a flat file begins like an arm64 Image.
///
/// # Errors
/// When it does not.
pub fn check_header(flat: &[u8]) -> Result<()> {
    ensure!(
        flat.get(IMAGE_MAGIC_OFFSET..IMAGE_MAGIC_OFFSET + 4) == Some(IMAGE_MAGIC.as_slice()),
        "there is no arm64 Image header (\"ARM\\x64\" at byte {IMAGE_MAGIC_OFFSET:#x}) at its start: \
         was it linked with linker/kernel.ld, and is the header the first input of .head?"
    );
    Ok(())
}

/// Makes the flat image of a linked kernel.
///
/// # Errors
/// When it is not an AArch64 ELF, has no Image header at its start, or its symbol block is missing, has no
/// bytes in the file, or is too small.
pub fn flatten(data: &[u8]) -> Result<(Vec<u8>, ksyms::Report)> {
    let file = parse(data)?;
    let (mut flat, segments) = load(&file, data)?;
    check_header(&flat)?;
    let start = symbol_address(&file, "__ksyms_start")?;
    let end = symbol_address(&file, "__ksyms_end")?;
    ensure!(end > start, "the .ksyms block is empty ({start:#x}..{end:#x}): reserve it in linker/kernel.ld");
    let block_bytes = usize::try_from(end - start)?;
    let at = segments
        .iter()
        .find(|s| start >= s.address && end <= s.address + s.file_bytes as u64)
        .map(|s| s.flat_offset + usize::try_from(start - s.address).unwrap_or(usize::MAX))
        .with_context(|| {
            format!(
                "the .ksyms block ({start:#x}..{end:#x}) has no bytes in the file: \
                 keep its section out of .bss and make it PROGBITS in linker/kernel.ld"
            )
        })?;
    let (block, report) = ksyms::encode(&functions(&file)?, block_bytes)?;
    flat[at..at + block_bytes].copy_from_slice(&block);
    Ok((flat, report))
}

/// Lays the loaded segments out as they lie in memory.
fn load(file: &ElfFile<'_, FileHeader64<Endianness>>, data: &[u8]) -> Result<(Vec<u8>, Vec<Segment>)> {
    let endian = file.endian();
    let loaded: Vec<_> = file
        .elf_header()
        .program_headers(endian, data)?
        .iter()
        .filter(|p| p.p_type(endian) == PT_LOAD && p.p_filesz(endian) > 0)
        .collect();
    let base = loaded.iter().map(|p| p.p_paddr(endian)).min().context("it has no loadable segment")?;
    let mut flat = Vec::new();
    let mut segments = Vec::new();
    for header in loaded {
        let offset = header.p_paddr(endian) - base;
        let bytes = header.data(endian, data).ok().context("a segment lies outside of the file")?;
        let last = offset.saturating_add(bytes.len() as u64);
        if last > LARGEST_IMAGE_BYTES {
            bail!(
                "a segment loads at {:#x}, {offset:#x} bytes above the first at {base:#x}: \
                 load addresses must be contiguous",
                header.p_paddr(endian)
            );
        }
        let (offset, last) = (usize::try_from(offset)?, usize::try_from(last)?);
        if flat.len() < last {
            flat.resize(last, 0);
        }
        flat[offset..last].copy_from_slice(bytes);
        segments.push(Segment {
            address: header.p_vaddr(endian),
            flat_offset: offset,
            file_bytes: bytes.len(),
        });
    }
    Ok((flat, segments))
}

fn symbol_address(file: &ElfFile<'_, FileHeader64<Endianness>>, name: &str) -> Result<u64> {
    file.symbol_by_name(name).map(|symbol| symbol.address()).with_context(|| {
        format!("the symbol `{name}` is missing: linker/kernel.ld defines it; was the file stripped?")
    })
}

/// Every function, and every label in executable code, by its distance from `_text`.
fn functions(file: &ElfFile<'_, FileHeader64<Endianness>>) -> Result<BTreeMap<u32, String>> {
    let text = symbol_address(file, "_text")?;
    let mut best: BTreeMap<u32, (u8, String)> = BTreeMap::new();
    for symbol in file.symbols() {
        let Ok(name) = symbol.name() else { continue };
        // `$x` and `$d` mark code and data for disassemblers; `.L` is a compiler's own label.
        if name.is_empty() || name.starts_with('$') || name.starts_with(".L") {
            continue;
        }
        let is_code = symbol
            .section_index()
            .and_then(|index| file.section_by_index(index).ok())
            .is_some_and(|section| section.kind() == SectionKind::Text);
        let Some(offset) = symbol.address().checked_sub(text).and_then(|o| u32::try_from(o).ok()) else {
            continue;
        };
        if !is_code {
            continue;
        }
        // Several names for one address: the typed one is the function, a bare label usually a section edge.
        let rank = u8::from(symbol.kind() == SymbolKind::Text) * 2 + u8::from(symbol.size() > 0);
        let better = best.get(&offset).is_none_or(|(old, _)| rank > *old);
        if better {
            best.insert(offset, (rank, ksyms::readable(name)));
        }
    }
    Ok(best.into_iter().map(|(offset, (_, name))| (offset, name)).collect())
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
