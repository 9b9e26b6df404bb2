//! Addresses for the functions that a trace names.
//!
//! The text has names, a record has addresses, and a table in the file leads from one to the other. The addresses are
//! those of the kernel where its ELF is at hand and has the name; others are made up, above all that are real.
//!
//! Invariant: each name has an interval of its own, as long as the largest offset that the trace has in it, so an address
//! leads back to its name.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// Made-up functions begin at multiples of this.
const STEP_BYTES: u64 = 0x1000;
/// The first made-up function; no kernel is linked so high.
const MADE_UP: u64 = 0xffff_fff0_0000_0000;
/// Behind all functions: readers take a function to reach up to the next, and the last of a table to be none.
const END: u64 = 0xffff_ffff_ffff_f000;

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    addresses: HashMap<String, u64>,
    made_up: usize,
}

impl Symbols {
    /// Finds an address for each of `used`, names with the largest offset in each; `linked` is what the ELF has.
    #[must_use]
    pub fn new(used: &BTreeMap<&str, u64>, linked: &BTreeMap<u64, String>) -> Self {
        let mut real: HashMap<&str, Vec<u64>> = HashMap::new();
        for (address, name) in linked {
            real.entry(name).or_default().push(*address);
        }
        let end_of = |address: u64| linked.range(address + 1..).next().map_or(MADE_UP, |(next, _)| *next);
        let mut symbols = Self::default();
        let mut free = MADE_UP;
        for (&name, &offset) in used {
            // An offset behind the function's end: the text is of another build. Of several functions with one name, any that
            // is long enough: its address leads back to the name.
            let fits = |address: &&u64| address.saturating_add(offset) < end_of(**address);
            let known = real.get(name).and_then(|addresses| addresses.iter().find(fits));
            let address = known.copied().unwrap_or_else(|| {
                let address = free;
                free = (free + offset + 1).next_multiple_of(STEP_BYTES);
                symbols.made_up += 1;
                address
            });
            symbols.addresses.insert(name.to_owned(), address);
        }
        symbols
    }

    /// The function's address; 0 for one that was not among those used.
    #[must_use]
    pub fn address(&self, name: &str) -> u64 {
        self.addresses.get(name).copied().unwrap_or(0)
    }

    /// Functions whose address is made up.
    #[must_use]
    pub fn made_up(&self) -> usize {
        self.made_up
    }

    /// The table as lines of address, type and name.
    #[must_use]
    pub fn table(&self) -> String {
        let mut sorted: Vec<_> = self.addresses.iter().map(|(name, address)| (address, name)).collect();
        sorted.sort();
        let mut text = String::new();
        for (address, name) in sorted {
            let _ = writeln!(text, "{address:016x} t {name}");
        }
        text + &format!("{END:016x} t the_end\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_address_that_it_was_linked_at_if_it_fits() {
        let linked: BTreeMap<u64, String> =
            [(0x1000, "a"), (0x1100, "b"), (0x1200, "twice"), (0x1210, "twice"), (0x1400, "z")]
                .map(|(address, name)| (address, name.to_owned()))
                .into();
        let used = BTreeMap::from([("a", 0xfc), ("b", 0x100), ("twice", 0x20), ("other", 0x1000), ("z", 8)]);
        let symbols = Symbols::new(&used, &linked);
        let real = ["a", "twice", "z"].map(|name| symbols.address(name));
        assert_eq!((real, symbols.made_up()), ([0x1000, 0x1210, 0x1400], 2));
        // The next is behind the largest offset.
        assert_eq!(["b", "other"].map(|name| symbols.address(name)), [MADE_UP, MADE_UP + 0x1000]);
        let table = symbols.table();
        assert!(table.starts_with("0000000000001000 t a\n0000000000001210 t twice\n"), "{table}");
        assert!(table.ends_with("\nfffffffffffff000 t the_end\n"), "{table}");
    }
}
