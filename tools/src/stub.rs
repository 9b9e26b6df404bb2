//! A three-instruction boot loader for the boot tests: jumps to the kernel with any x0.
//!
//! QEMU's own loader always passes a sound device tree to an Image. To hand over none, garbage, or a spoiled
//! one, the image is placed in memory by QEMU's generic loader and entered through this stub.
//!
//! Invariant: the pieces lie apart from one another and from the tree that QEMU puts at the start of RAM.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `virt`: RAM begins at 1 GiB; the image runs at 512 KiB above a 2 MiB boundary, as its header demands.
const IMAGE_AT: u64 = 0x4028_0000;
/// Where the stub lies: above any image, below [`TREE_AT`].
const STUB_AT: u64 = 0x4700_0000;
/// Where a spoiled tree is put.
pub const TREE_AT: u64 = 0x4800_0000;

/// Machine code: x0 = `x0`, then jump to `entry`; x1 to x3 are zero at reset, as the boot protocol asks.
#[must_use]
pub fn code(x0: u64, entry: u64) -> Vec<u8> {
    const LDR_X0_AT_16: u32 = 0x5800_0080; // at 0: ldr x0, .+16
    const LDR_X4_AT_24: u32 = 0x5800_00a4; // at 4: ldr x4, .+20
    const BR_X4: u32 = 0xd61f_0080;
    const NOP: u32 = 0xd503_201f; // keeps the two doublewords aligned
    let words = [LDR_X0_AT_16, LDR_X4_AT_24, BR_X4, NOP];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(x0.to_le_bytes());
    bytes.extend(entry.to_le_bytes());
    bytes
}

/// QEMU arguments that enter `image` with `x0`, and `tree` (if any) at [`TREE_AT`].
///
/// # Errors
/// When the stub cannot be written to `dir`.
pub fn arguments(image: &Path, x0: u64, tree: Option<&Path>, dir: &Path) -> Result<Vec<String>> {
    let stub: PathBuf = dir.join(format!("stub-{x0:x}.bin"));
    std::fs::write(&stub, code(x0, IMAGE_AT)).with_context(|| format!("cannot write {}", stub.display()))?;
    let mut arguments = Vec::new();
    let mut device = |text: String| arguments.extend(["-device".to_owned(), text]);
    device(format!("loader,file={},addr={IMAGE_AT:#x},force-raw=on", image.display()));
    device(format!("loader,file={},addr={STUB_AT:#x},force-raw=on", stub.display()));
    if let Some(tree) = tree {
        device(format!("loader,file={},addr={TREE_AT:#x},force-raw=on", tree.display()));
    }
    device(format!("loader,addr={STUB_AT:#x},cpu-num=0"));
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literals_lie_where_the_loads_look() {
        let bytes = code(0x1122_3344_5566_7788, 0x4028_0000);
        // An LDR literal holds its distance in words in bits 5 to 23.
        let reach = |at: usize| {
            let word = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            at + ((word >> 5) & 0x7_ffff) as usize * 4
        };
        let literal = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(literal(reach(0)), 0x1122_3344_5566_7788);
        assert_eq!(literal(reach(4)), 0x4028_0000);
    }

    #[test]
    fn the_image_lies_where_its_header_wants_it() {
        assert_eq!(IMAGE_AT % (2 << 20), 0x80000);
    }
}
