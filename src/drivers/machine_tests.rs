// Included by machine.rs.

use super::*;
use crate::drivers::tree_builder::Builder;
use proptest::prelude::*;
use std::vec::Vec;

/// Device trees of QEMU `virt` as the emulator dumps them, cut to their contents.
const VIRT_V3: &[u8] = include_bytes!("../../tests/data/virt-gicv3.dtb");
const VIRT_V2_EL2: &[u8] = include_bytes!("../../tests/data/virt-gicv2-el2.dtb");

/// A tree shaped like a Raspberry Pi 4's: devices behind a bus that translates, a mini UART as
/// `stdout-path`, no firmware interface, a reserved first page.
fn pi_like() -> Vec<u8> {
    let mut b = Builder::default();
    b.reservations.push((0, 0x1000));
    b.begin("").cells("#address-cells", &[2]).cells("#size-cells", &[1]).cells("interrupt-parent", &[1]);
    b.text("compatible", &["raspberrypi,4-model-b", "brcm,bcm2711"])
        .text("model", &["Raspberry Pi 4 Model B"]);
    b.begin("chosen").text("stdout-path", &["serial1:115200n8"]).text("bootargs", &["hz=1000"]);
    b.cells("linux,initrd-start", &[0x100_0000]).cells("linux,initrd-end", &[0, 0x180_0000]).end();
    b.begin("aliases")
        .text("serial0", &["/soc/serial@7e201000"])
        .text("serial1", &["/soc/serial@7e215040"])
        .end();
    b.begin("memory@0")
        .text("device_type", &["memory"])
        .cells("reg", &[0, 0, 0x3b40_0000, 0, 0x4000_0000, 0x3c00_0000])
        .end();
    b.begin("reserved-memory").cells("#address-cells", &[2]).cells("#size-cells", &[1]).bytes("ranges", &[]);
    b.begin("nvram@0").cells("reg", &[0, 0x3f00_0000, 0x1000]).bytes("no-map", &[]).end();
    b.begin("linux,cma").cells("size", &[0x400_0000]).end().end();
    b.begin("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0]);
    for cpu in 0..4 {
        b.begin(&std::format!("cpu@{cpu}"))
            .cells("cpu-release-addr", &[0, 0xd8 + 8 * cpu])
            .cells("reg", &[cpu])
            .end();
    }
    b.end();
    b.begin("timer").text("compatible", &["arm,armv8-timer"]);
    b.cells("interrupts", &[1, 13, 0xf08, 1, 14, 0xf08, 1, 11, 0xf08, 1, 10, 0xf08]).end();
    b.begin("arm-pmu").text("compatible", &["arm,cortex-a72-pmu", "arm,armv8-pmuv3"]);
    b.cells("interrupts", &[0, 16, 4, 0, 17, 4, 0, 18, 4, 0, 19, 4]).end();
    b.begin("soc").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    b.cells("ranges", &[0x7e00_0000, 0, 0xfe00_0000, 0x180_0000, 0x4000_0000, 0, 0xff80_0000, 0x80_0000]);
    b.begin("clock").cells("phandle", &[3]).cells("#clock-cells", &[1]).end();
    b.begin("interrupt-controller@40041000").text("compatible", &["arm,gic-400"]).cells("phandle", &[1]);
    b.bytes("interrupt-controller", &[]).cells("reg", &[0x4004_1000, 0x1000, 0x4004_2000, 0x2000]).end();
    b.begin("serial@7e215040")
        .text("compatible", &["brcm,bcm2835-aux-uart"])
        .cells("reg", &[0x7e21_5040, 0x40])
        .end();
    b.begin("serial@7e201400").text("compatible", &["arm,pl011"]).cells("reg", &[0x7e20_1400, 0x200]);
    b.text("status", &["disabled"]).end();
    b.begin("serial@7e201000")
        .text("compatible", &["arm,pl011", "arm,primecell"])
        .cells("reg", &[0x7e20_1000, 0x200]);
    b.cells("interrupts", &[0, 121, 4])
        .cells("clocks", &[3, 19, 3, 20])
        .text("clock-names", &["uartclk", "apb_pclk"]);
    b.end().end().end();
    b.finish()
}

fn all_memory(tree: &Tree) -> Vec<PhysRange> {
    let mut list = Vec::new();
    let _ = memory(tree, &mut |r| list.push(r));
    list
}

fn all_reserved(tree: &Tree) -> Vec<(PhysRange, bool)> {
    let mut list = Vec::new();
    reserved(tree, &mut |r, no_map| list.push((r, no_map)));
    list
}

fn all_cpus(tree: &Tree) -> Vec<u64> {
    let mut list = Vec::new();
    cpus(tree, &mut |cpu| list.push(cpu.affinity));
    list
}

const fn range(start: u64, bytes: u64) -> PhysRange {
    PhysRange { start, bytes }
}

/// Asks everything there is to ask.
fn ask_everything(tree: &Tree) {
    let _ = (all_memory(tree), all_reserved(tree), all_cpus(tree));
    let _ = (bootargs(tree), model(tree), BoardKind::of(tree), console(tree), psci(tree));
    let _ = (virtual_timer(tree), pmu_interrupt(tree, 0), pmu_interrupt(tree, 3));
    if let Err(error) = gic(tree) {
        assert!(std::format!("{error}").contains("supported are"));
    }
}

#[test]
fn qemu_virt_with_gicv3_is_understood() {
    let tree = Tree::open(VIRT_V3).unwrap();
    assert_eq!(all_memory(&tree), [range(0x4000_0000, 0x800_0000)]);
    assert_eq!(all_reserved(&tree), []);
    assert_eq!(all_cpus(&tree), [0]);
    assert_eq!(BoardKind::of(&tree), BoardKind::QemuVirt);
    assert_eq!(psci(&tree), Some(PsciMethod::Hvc));
    assert_eq!(virtual_timer(&tree), Some(Interrupt { intid: 27, edge: false }));
    assert_eq!(pmu_interrupt(&tree, 5), Some(Interrupt { intid: 23, edge: false }));
    assert_eq!(
        gic(&tree),
        Ok(GicInfo {
            version: GicVersion::V3,
            distributor: range(0x800_0000, 0x1_0000),
            cpu_side: range(0x80a_0000, 0xf6_0000),
        })
    );
    assert_eq!(
        console(&tree),
        Some(UartInfo {
            kind: UartKind::Pl011,
            regs: range(0x900_0000, 0x1000),
            clock_hz: Some(24_000_000),
            interrupt: Some(Interrupt { intid: 33, edge: false }),
        })
    );
    assert_eq!(bootargs(&tree), "");
}

#[test]
fn qemu_virt_with_gicv2_entered_at_el2_is_understood() {
    let tree = Tree::open(VIRT_V2_EL2).unwrap();
    assert_eq!(all_cpus(&tree), [0, 1]);
    assert_eq!(psci(&tree), Some(PsciMethod::Smc));
    assert_eq!(
        gic(&tree),
        Ok(GicInfo {
            version: GicVersion::V2,
            distributor: range(0x800_0000, 0x1_0000),
            cpu_side: range(0x801_0000, 0x1_0000),
        })
    );
}

#[test]
fn addresses_behind_a_translating_bus_become_physical() {
    let blob = pi_like();
    let tree = Tree::open(&blob).unwrap();
    assert_eq!(gic(&tree).unwrap().distributor, range(0xff84_1000, 0x1000));
    assert_eq!(gic(&tree).unwrap().cpu_side, range(0xff84_2000, 0x2000));
    assert_eq!(BoardKind::of(&tree), BoardKind::RaspberryPi4);
    assert_eq!(all_cpus(&tree), [0, 1, 2, 3]);
    assert_eq!(psci(&tree), None);
    assert_eq!(bootargs(&tree), "hz=1000");
}

#[test]
fn a_console_that_is_no_pl011_makes_way_for_the_first_one_that_is_okay() {
    let blob = pi_like();
    let tree = Tree::open(&blob).unwrap();
    assert_eq!(
        console(&tree),
        Some(UartInfo {
            kind: UartKind::Pl011,
            regs: range(0xfe20_1000, 0x200),
            clock_hz: None,
            interrupt: Some(Interrupt { intid: 153, edge: false }),
        })
    );
}

/// Our own tree of the board.
const RPI4: &[u8] = include_bytes!("../../tests/data/rpi4.dtb");

#[test]
fn a_mini_uart_is_the_console_where_it_is_named_by_the_boot_arguments_or_there_is_no_other() {
    let tree = Tree::open(RPI4).unwrap();
    let (mini, pl011) = (range(0xfe21_5040, 0x40), range(0xfe20_1000, 0x200));
    let named = |name| named_console(&tree, name).map(|uart| (uart.kind, uart.regs));
    assert_eq!(named("serial1"), Some((UartKind::Mini, mini)));
    assert_eq!(named("serial0:115200n8"), Some((UartKind::Pl011, pl011)));
    assert_eq!(named("/soc/serial@7e215040"), Some((UartKind::Mini, mini)));
    assert_eq!((named("serial9"), named(""), named("/soc")), (None, None, None));
    // The tree itself names it as well, which a PL011 outdoes.
    assert_eq!(console(&tree).map(|uart| uart.regs), Some(pl011));
    let mut without = RPI4.to_vec();
    let at = without.windows(9).position(|window| window == b"arm,pl011").unwrap();
    without[at] = b'x';
    let uart = console(&Tree::open(&without).unwrap()).unwrap();
    assert_eq!((uart.kind, uart.regs, uart.interrupt.unwrap().intid), (UartKind::Mini, mini, 32 + 93));
}

#[test]
fn a_shared_pmu_interrupt_is_chosen_by_cpu_and_a_private_one_is_not() {
    let blob = pi_like();
    let tree = Tree::open(&blob).unwrap();
    assert_eq!(pmu_interrupt(&tree, 0).unwrap().intid, 48);
    assert_eq!(pmu_interrupt(&tree, 3).unwrap().intid, 51);
    assert_eq!(pmu_interrupt(&tree, 4), None);
    assert_eq!(pmu_interrupt(&tree, usize::MAX / 12 + 1), None);
}

#[test]
fn reservations_come_from_everywhere_they_can_be() {
    let blob = pi_like();
    let tree = Tree::open(&blob).unwrap();
    let block_and_ramdisk = [(range(0, 0x1000), false), (range(0x100_0000, 0x80_0000), false)];
    assert_eq!(all_reserved(&tree)[..2], block_and_ramdisk);
    assert_eq!(all_reserved(&tree)[2], (range(0x3f00_0000, 0x1000), true));
    let spin_table: Vec<_> = (0..4).map(|cpu| (range(0xd8 + 8 * cpu, 8), false)).collect();
    assert_eq!(all_reserved(&tree)[3..], spin_table);
    assert_eq!(all_memory(&tree), [range(0, 0x3b40_0000), range(0x4000_0000, 0x3c00_0000)]);
}

fn minimal(fill: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut b = Builder::default();
    b.begin("").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
    fill(&mut b);
    b.end().finish()
}

#[test]
fn a_tree_without_memory_says_so() {
    for blob in [
        minimal(|_| {}),
        minimal(|b| _ = b.begin("memory@0").cells("reg", &[0, 0]).end()),
        minimal(|b| _ = b.begin("memory@0").cells("reg", &[0, 0x1000]).text("status", &["disabled"]).end()),
        minimal(|b| _ = b.begin("memory@0").bytes("reg", &[1, 2, 3]).end()),
    ] {
        let tree = Tree::open(&blob).unwrap();
        let error = memory(&tree, &mut |_| {}).unwrap_err();
        assert_eq!(std::format!("{error}"), "has no memory node with a size");
    }
}

#[test]
fn an_unknown_interrupt_controller_is_named_with_what_is_supported() {
    let blob = minimal(|b| {
        b.begin("intc@0")
            .text("compatible", &["acme,irq-9", "acme,irq"])
            .bytes("interrupt-controller", &[])
            .end();
    });
    let text = std::format!("{}", gic(&Tree::open(&blob).unwrap()).unwrap_err());
    assert!(text.contains("\"acme,irq-9\" \"acme,irq\""), "{text}");
    assert!(text.contains("\"arm,gic-400\"") && text.contains("\"arm,gic-v3\""), "{text}");
}

#[test]
fn an_interrupt_controller_without_registers_is_an_error() {
    let blob = minimal(|b| {
        b.begin("intc@0").text("compatible", &["arm,gic-v3"]).bytes("interrupt-controller", &[]).end();
    });
    assert!(gic(&Tree::open(&blob).unwrap()).unwrap_err().registers_missing);
    let none = minimal(|_| {});
    assert_eq!(gic(&Tree::open(&none).unwrap()).unwrap_err().compatible, None);
}

#[test]
fn a_bus_without_ranges_hides_its_devices() {
    let blob = minimal(|b| {
        b.begin("bus").cells("#address-cells", &[1]).cells("#size-cells", &[1]);
        b.begin("serial@0").text("compatible", &["arm,pl011"]).cells("reg", &[0, 0x1000]).end().end();
    });
    assert_eq!(console(&Tree::open(&blob).unwrap()), None);
}

#[test]
fn a_bus_with_windows_of_no_size_hides_its_devices() {
    let blob = minimal(|b| {
        b.begin("bus").cells("#address-cells", &[0]).cells("#size-cells", &[0]).cells("ranges", &[0]);
        b.begin("serial@0").text("compatible", &["arm,pl011"]).cells("reg", &[]).end().end();
    });
    assert_eq!(console(&Tree::open(&blob).unwrap()), None);
}

#[test]
fn what_is_no_tree_is_refused_with_what_was_found() {
    let text = |blob: &[u8]| std::format!("{}", Tree::open(blob).err().unwrap());
    assert_eq!(text(&[]), "bad magic 00000000");
    assert_eq!(text(&[5, 0, 0, 0, 0, 0, 0, 0]), "bad magic 05000000");
    assert_eq!(text(&[0xd0, 0x0d, 0xfe, 0xed, 0, 0, 0, 8]), "length 8 bytes; expected 40 to 2097152");
}

#[test]
fn every_truncation_is_refused() {
    for blob in [VIRT_V3, VIRT_V2_EL2, &pi_like()] {
        for bytes in 0..blob.len() {
            assert!(Tree::open(&blob[..bytes]).is_err(), "cut to {bytes} bytes");
            // The same with a header that agrees.
            let mut cut = blob[..bytes].to_vec();
            if bytes >= 8 {
                cut[4..8].copy_from_slice(&(bytes as u32).to_be_bytes());
            }
            assert!(Tree::open(&cut).is_err(), "cut to {bytes} bytes, and saying so");
        }
    }
}

#[test]
fn a_wrong_byte_anywhere_is_no_reason_to_panic() {
    let blob = pi_like();
    for at in 0..blob.len() {
        for value in [0, 0xff, !blob[at], blob[at].wrapping_add(1)] {
            let mut damaged = blob.clone();
            damaged[at] = value;
            if let Ok(tree) = Tree::open(&damaged) {
                ask_everything(&tree);
            }
        }
    }
}

#[test]
fn deep_nesting_is_no_reason_to_panic() {
    let blob = minimal(|b| {
        for _ in 0..10_000 {
            b.begin("n");
        }
        for _ in 0..10_000 {
            b.end();
        }
    });
    ask_everything(&Tree::open(&blob).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_damage_makes_the_reader_panic(
        which in 0usize..3,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)
    ) {
        let mut blob = [VIRT_V3.to_vec(), VIRT_V2_EL2.to_vec(), pi_like()][which].clone();
        for (at, value) in damage {
            let at = at.index(blob.len());
            blob[at] = value;
        }
        if let Ok(tree) = Tree::open(&blob) {
            ask_everything(&tree);
        }
    }

    #[test]
    fn no_property_value_makes_the_reader_panic(
        cells in proptest::collection::vec(any::<u32>(), 0..12),
        address_cells in 0u32..5,
        size_cells in 0u32..5,
    ) {
        let mut b = Builder::default();
        b.begin("").cells("#address-cells", &[address_cells]).cells("#size-cells", &[size_cells]);
        b.cells("interrupt-parent", &cells[..cells.len().min(1)]);
        b.begin("memory").cells("reg", &cells).end();
        b.begin("bus").cells("ranges", &cells).cells("#address-cells", &[size_cells]).cells("#size-cells", &[address_cells]);
        b.begin("serial").text("compatible", &["arm,pl011"]).cells("reg", &cells).cells("clocks", &cells).cells("interrupts", &cells).end();
        b.begin("gic").text("compatible", &["arm,gic-v3"]).cells("reg", &cells).bytes("interrupt-controller", &[]).end();
        b.end();
        b.begin("timer").text("compatible", &["arm,armv8-timer"]).cells("interrupts", &cells).end();
        b.begin("pmu").text("compatible", &["pmu"]).cells("interrupts", &cells).end();
        b.begin("cpus").cells("#address-cells", &[address_cells]).begin("cpu").cells("reg", &cells).end().end();
        let blob = b.end().finish();
        ask_everything(&Tree::open(&blob).unwrap());
    }
}
