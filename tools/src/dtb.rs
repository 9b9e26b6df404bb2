//! Device trees for worlds that should not exist: takes QEMU's tree and spoils it.
//!
//! Invariant: a patch replaces text by text of the same length, so every offset in the blob stays right and
//! only what the patch says is wrong with it.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::machine::Machine;
use crate::qemu::{self, Payload};

/// First word of a device tree blob (big endian).
pub const MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];

/// Lets QEMU write the device tree it would hand to `image`, with `bootargs` in it, into `out`.
///
/// # Errors
/// When QEMU fails; its message is passed on.
pub fn dump(machine: &Machine, image: &Path, bootargs: &str, out: &Path) -> Result<Vec<u8>> {
    let mut machine = machine.clone();
    machine.extra.extend(["-M".into(), format!("dumpdtb={}", out.display())]);
    let output = qemu::command(&machine, Payload::Image(image), bootargs)
        .stdin(Stdio::null())
        .output()
        .context("cannot start QEMU to dump its device tree: run tools/setup.sh")?;
    ensure!(
        output.status.success(),
        "QEMU did not dump its device tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let blob = std::fs::read(out).with_context(|| format!("cannot read {}", out.display()))?;
    ensure!(blob.starts_with(&MAGIC), "{} is not a device tree", out.display());
    Ok(blob)
}

/// Replaces every `from` by `to`.
///
/// # Errors
/// When the lengths differ or `from` does not occur.
pub fn replace(blob: &mut [u8], from: &[u8], to: &[u8]) -> Result<usize> {
    ensure!(
        from.len() == to.len(),
        "a patch keeps the length: {:?} and {:?} differ",
        String::from_utf8_lossy(from),
        String::from_utf8_lossy(to)
    );
    let mut count = 0;
    let mut at = 0;
    while let Some(found) = blob[at..].windows(from.len()).position(|window| window == from) {
        blob[at + found..at + found + to.len()].copy_from_slice(to);
        at += found + to.len();
        count += 1;
    }
    if count == 0 {
        bail!(
            "{:?} does not occur in the device tree: QEMU has changed its wording",
            String::from_utf8_lossy(from)
        );
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_is_replaced_and_counted() {
        let mut blob = b"arm,gic-v3\0x arm,gic-v3\0arm,gic-v3-its\0".to_vec();
        assert_eq!(replace(&mut blob, b"arm,gic-v3\0", b"acme,irq-9\0").unwrap(), 2);
        assert_eq!(blob, b"acme,irq-9\0x acme,irq-9\0arm,gic-v3-its\0");
    }

    #[test]
    fn a_patch_that_would_shift_the_tree_or_hit_nothing_is_refused() {
        let mut blob = b"memory\0".to_vec();
        assert!(replace(&mut blob, b"memory", b"mem").unwrap_err().to_string().contains("keeps the length"));
        assert!(replace(&mut blob, b"cpus", b"cpux").unwrap_err().to_string().contains("does not occur"));
    }
}
