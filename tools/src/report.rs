//! Writes what was measured as JSON, with everything needed to measure it again.
//!
//! Invariant: the file says which machine, which emulator and which commit the figures belong to; a figure
//! without these is worth nothing later.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cargo;
use crate::lines::Measured;
use crate::machine::{self, Machine};

/// Writes `<target>/<name>.json` and returns its path; `extra` is merged into the top level.
///
/// # Errors
/// When QEMU does not tell its version or the file cannot be written.
pub fn write(
    name: &str,
    machine: &Machine,
    bootargs: &str,
    results: &[Measured],
    extra: Value,
) -> Result<PathBuf> {
    let mut document = json!({
        "schema": 1,
        "kind": name,
        "commit": describe(),
        "qemu": machine::version()?,
        "configuration": {
            "arguments": machine.arguments(),
            "bootargs": bootargs,
            "gic": machine.gic,
            "cpu": machine.cpu,
            "cpus": machine.cpus,
            "icount": machine.icount,
            "timer_hz": machine.timer_hz,
        },
        "results": results.iter().map(Measured::to_json).collect::<Vec<_>>(),
    });
    if let (Some(top), Value::Object(extra)) = (document.as_object_mut(), extra) {
        top.extend(extra);
    }
    let path = cargo::target_dir()?.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&document).context("the results cannot be written as JSON")?;
    std::fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// `git describe`, or `unknown` outside of a repository.
fn describe() -> String {
    let Ok(root) = cargo::root() else {
        return "unknown".into();
    };
    Command::new("git")
        .args(["describe", "--always", "--dirty", "--tags"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "unknown".into())
}
