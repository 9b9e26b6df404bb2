//! Devices of a tree like a Raspberry Pi 4's, handed to drivers that write down what they get.

use std::boxed::Box;
use std::cell::RefCell;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::drivers::tree_builder::Builder;

std::thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn seen() -> Vec<String> {
    SEEN.take()
}

fn note(what: String) {
    SEEN.with_borrow_mut(|seen| seen.push(what));
}

fn note_all(device: &Device) -> Result<(), ProbeError> {
    let reg = device.reg(0)?;
    let irq = device.interrupt(0).map_or_else(|error| error.to_string(), |irq| std::format!("{irq:?}"));
    note(std::format!("{} {device} {:#x}+{:#x} {irq}", device.compatible, reg.start, reg.bytes));
    Ok(())
}

fn note_clock(device: &Device) -> Result<(), ProbeError> {
    note(std::format!("{:?} {:?}", device.clock_hz(""), device.property("is-there")));
    Ok(())
}

fn fail(device: &Device) -> Result<(), ProbeError> {
    note(std::format!("refused {}", device.name()));
    Err(ProbeError::new("out of order"))
}

/// A bus that translates, with devices that are okay, disabled, behind another interrupt controller, out of reach.
fn tree() -> Tree<'static> {
    let mut b = Builder::default();
    b.begin("").cells("#address-cells", &[2]).cells("#size-cells", &[1]).cells("interrupt-parent", &[1]);
    b.begin("soc").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    b.cells("ranges", &[0x7e00_0000, 0, 0xfe00_0000, 0x180_0000, 0x4000_0000, 0, 0xff80_0000, 0x80_0000]);
    b.begin("interrupt-controller@40041000")
        .text("compatible", &["arm,gic-400"])
        .cells("phandle", &[1])
        .end();
    b.begin("clock")
        .cells("phandle", &[3])
        .cells("#clock-cells", &[0])
        .cells("clock-frequency", &[500_000])
        .end();
    b.begin("aux@7e215000").cells("phandle", &[2]).cells("#interrupt-cells", &[1]).end();
    b.begin("wheel@7e200000").text("compatible", &["acme,wheel-2", "acme,wheel"]);
    b.cells("reg", &[0x7e20_0000, 0xb4]).cells("interrupts", &[0, 113, 4]).end();
    b.begin("wheel@7e300000").text("compatible", &["acme,wheel"]).cells("reg", &[0x7e30_0000, 0xb4]);
    b.text("status", &["disabled"]).end();
    b.begin("wheel@7e400000").text("compatible", &["acme,wheel"]).cells("reg", &[0x7e40_0000, 0xb4]);
    b.cells("interrupt-parent", &[2]).cells("interrupts", &[0, 1, 4]).end();
    b.begin("wheel@10000000").text("compatible", &["acme,wheel"]).cells("reg", &[0x1000_0000, 4]).end();
    b.begin("horn").text("compatible", &["acme,horn"]).cells("clocks", &[3]).bytes("is-there", &[]).end();
    b.begin("bell").text("compatible", &["acme,bell"]).cells("clock-frequency", &[7]).end();
    b.end().end();
    let blob: &'static [u8] = Box::leak(b.finish().into_boxed_slice());
    Tree::open(blob).unwrap()
}

const WHEEL: Driver = Driver { name: "wheel", compatible: &["acme,wheel", "acme,wheel-2"], probe: note_all };
const HORN: Driver = Driver { name: "horn", compatible: &["acme,horn", "acme,bell"], probe: note_clock };
const BROKEN: Driver = Driver { name: "broken", compatible: &["acme,horn"], probe: fail };

#[test]
fn a_device_comes_with_the_addresses_of_the_cpu_and_interrupts_of_the_gic() {
    assert_eq!(probe_all(&tree(), &[WHEEL]), 2);
    let seen = seen();
    assert_eq!(
        seen[0],
        "acme,wheel-2 /soc/wheel@7e200000 0xfe200000+0xb4 Interrupt { intid: 145, edge: false }"
    );
    // The disabled one does not exist; of the third the interrupt is none of the GIC's; the last is out of reach.
    assert!(
        seen[1].starts_with("acme,wheel /soc/wheel@7e400000 0xfe400000+0xb4 no interrupt 0"),
        "{}",
        seen[1]
    );
    assert_eq!(seen.len(), 2);
}

#[test]
fn drivers_are_asked_in_the_order_of_the_table_and_a_failed_probe_stops_nobody() {
    assert_eq!(probe_all(&tree(), &[BROKEN, HORN]), 2);
    assert_eq!(seen(), ["refused horn", "Some(500000) Some([])", "Some(7) None"]);
}
