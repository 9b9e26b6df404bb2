//! The code of an image as it is executed: the linked file, with the patch sites of the enabled keys written.
//!
//! Which instructions run depends on the model and on the number of CPUs. The `.patch` table says where and how
//! (arch `patch.rs`), so what is analysed is what `patch::apply` leaves behind. Sites of preempt-stats keep their
//! instruction: the statistics are off while the guarantee is given.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind};

use super::graph::Bound;
use super::state::Constants;

/// The keys of `arch::patch::Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Spin locks take a lock word.
    SmpLocks = 0,
    /// The preemption points do nothing.
    PreemptInert = 1,
    /// The interrupt controller is a GICv2.
    GicV2 = 3,
    /// `might_sleep` is a scheduling point.
    Voluntary = 4,
    /// Softirqs and interrupt handlers are threads.
    Rt = 5,
    /// `SpinLock` sleeps.
    SleepingSpinLocks = 6,
}

/// A place of the code that says something about itself (`arch::bound!`).
const BOUNDS: &str = ".bounds";
/// Bytes of an entry there: address, passes, name.
const BOUND_BYTES: usize = 24;
/// Passes that stand for "here a softirq gives way".
const GIVES_WAY: u64 = u64::MAX;
/// The key of preempt-stats, whose sites are what changes the mask and the preempt word.
const PREEMPT_STATS: u32 = 8;
/// Bytes of an entry of the `.patch` table.
const PATCH_BYTES: usize = 16;

struct Section {
    address: u64,
    data: Vec<u8>,
    writable: bool,
    text: bool,
}

/// See the module's text.
pub struct Code {
    sections: Vec<Section>,
    patched: HashMap<u64, u32>,
    /// Start and end of every function and of every label in assembly, with its name.
    symbols: BTreeMap<u64, (u64, String)>,
    functions: std::collections::HashSet<u64>,
    bounds: HashMap<u64, Bound>,
    gives_way: std::collections::HashSet<u64>,
    /// Where the mask or the count changes, as preempt-stats knows.
    hooks: std::collections::HashSet<u64>,
    /// Numbers to compute with, but addresses to call: every function whose address is in data.
    pointers: Vec<u64>,
}

impl Code {
    /// Reads a linked image and patches it for `keys`.
    ///
    /// # Errors
    /// When it is no kernel image.
    pub fn read(elf: &[u8], keys: &[Key]) -> Result<Self> {
        let file = object::File::parse(elf).context("the image is not an ELF file")?;
        let mut code = Self {
            sections: Vec::new(),
            patched: HashMap::new(),
            symbols: BTreeMap::new(),
            functions: std::collections::HashSet::new(),
            bounds: HashMap::new(),
            gives_way: std::collections::HashSet::new(),
            hooks: std::collections::HashSet::new(),
            pointers: Vec::new(),
        };
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
            let flags = u32::try_from(sh_flags)?;
            if flags & object::elf::SHF_ALLOC != 0 {
                code.sections.push(Section {
                    address: section.address(),
                    data: section.data()?.to_vec(),
                    writable: flags & object::elf::SHF_WRITE != 0,
                    text: flags & object::elf::SHF_EXECINSTR != 0,
                });
            }
            if section.name() == Ok(BOUNDS) {
                code.read_bounds(section.data()?)?;
            }
        }
        code.read_symbols(&file);
        code.patch(&file, keys)?;
        code.find_pointers();
        Ok(code)
    }

    fn read_bounds(&mut self, data: &[u8]) -> Result<()> {
        ensure!(
            data.len().is_multiple_of(BOUND_BYTES),
            "the section {BOUNDS} has {} bytes, which is no multiple of {BOUND_BYTES}",
            data.len()
        );
        for entry in data.chunks_exact(BOUND_BYTES) {
            let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap_or_default());
            let (address, passes, name) = (word(0), word(8), word(16));
            if passes == GIVES_WAY {
                self.gives_way.insert(address);
            } else {
                self.bounds.insert(address, Bound { name, passes });
            }
        }
        Ok(())
    }

    fn read_symbols(&mut self, file: &object::File<'_>) {
        for symbol in file.symbols() {
            let Ok(name) = symbol.name() else { continue };
            if name.is_empty() || name.starts_with('$') || name.starts_with(".L") {
                continue;
            }
            if !self.is_text(symbol.address()) {
                continue;
            }
            let function = symbol.kind() == SymbolKind::Text && symbol.size() > 0;
            if function {
                self.functions.insert(symbol.address());
            }
            let known = self.symbols.get(&symbol.address()).is_some_and(|(end, _)| *end > symbol.address());
            if function || !known {
                let readable = super::names::short(&format!("{:#}", rustc_demangle::demangle(name)));
                self.symbols.insert(symbol.address(), (symbol.address() + symbol.size(), readable));
            }
        }
    }

    fn patch(&mut self, file: &object::File<'_>, keys: &[Key]) -> Result<()> {
        let at = |name: &str| {
            file.symbol_by_name(name)
                .map(|symbol| symbol.address())
                .with_context(|| format!("the image has no symbol `{name}`: is it one of Stint?"))
        };
        let (start, end) = (at("__patch_start")?, at("__patch_end")?);
        let mut address = start;
        while address < end {
            let word = |offset: u64| {
                self.load(address + offset, 4)
                    .map(|value| value as u32)
                    .with_context(|| format!("the .patch table ends inside of an entry, at {address:#x}"))
            };
            let site = address.wrapping_add_signed(i64::from(word(0)? as i32));
            let target = (address + 4).wrapping_add_signed(i64::from(word(4)? as i32));
            let (key, original) = (word(8)?, word(12)?);
            ensure!(
                self.plain_word(site) == Some(original),
                "the .patch entry at {address:#x} says that {original:#010x} stands at {site:#x}, which is not so"
            );
            if key == PREEMPT_STATS {
                self.hooks.insert(site);
            }
            if keys.iter().any(|&on| on as u32 == key) {
                let distance = (target as i64 - site as i64) >> 2;
                self.patched.insert(site, 0x1400_0000 | distance as u32 & 0x03ff_ffff);
            }
            address += PATCH_BYTES as u64;
        }
        Ok(())
    }

    fn find_pointers(&mut self) {
        let mut found = Vec::new();
        for section in self.sections.iter().filter(|section| !section.text) {
            for bytes in section.data.chunks_exact(8) {
                let value = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
                if self.functions.contains(&value) {
                    found.push(value);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        self.pointers = found;
    }

    fn section(&self, address: u64) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| (section.address..section.address + section.data.len() as u64).contains(&address))
    }

    fn is_text(&self, address: u64) -> bool {
        self.section(address).is_some_and(|section| section.text)
    }

    fn plain_word(&self, address: u64) -> Option<u32> {
        let section = self.section(address)?;
        let at = usize::try_from(address - section.address).ok()?;
        Some(u32::from_le_bytes(section.data.get(at..at + 4)?.try_into().ok()?))
    }

    /// The instruction at an address.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<u32> {
        self.patched.get(&address).copied().or_else(|| self.plain_word(address))
    }

    /// Functions whose address lies in data.
    #[must_use]
    pub fn pointers(&self) -> &[u64] {
        &self.pointers
    }

    /// Whether a function begins at an address.
    #[must_use]
    pub fn is_function(&self, address: u64) -> bool {
        self.functions.contains(&address)
    }

    /// Whether both addresses are in one function.
    #[must_use]
    pub fn same_function(&self, a: u64, b: u64) -> bool {
        let of = |address| {
            self.symbols
                .range(..=address)
                .rev()
                .find(|(start, _)| self.functions.contains(start))
                .filter(|(_, (end, _))| *end > address)
                .map(|(start, _)| *start)
        };
        of(a) == of(b)
    }

    /// The functions of the image, by address.
    pub fn functions(&self) -> impl Iterator<Item = (u64, &str)> {
        self.symbols
            .iter()
            .filter(|(start, _)| self.functions.contains(start))
            .map(|(start, (_, name))| (*start, name.as_str()))
    }

    /// The first instructions of a function: what is inlined at its very start says what it is, where its own name is that
    /// of a trait's method.
    pub fn beginning(&self, entry: u64) -> impl Iterator<Item = u64> {
        const INSTRUCTIONS: u64 = 24;
        let end = self.symbols.get(&entry).map_or(entry, |(end, _)| *end);
        (0..INSTRUCTIONS).map(move |at| entry + at * 4).filter(move |at| *at < end)
    }

    /// Everything that has a name in the code.
    pub fn labels(&self) -> impl Iterator<Item = u64> {
        self.symbols.keys().copied()
    }

    /// The address of a symbol, by its readable name.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols.iter().find(|(_, (_, known))| known == name).map(|(start, _)| *start)
    }

    /// The symbol that an address lies in.
    #[must_use]
    pub fn name(&self, address: u64) -> &str {
        self.symbols.range(..=address).next_back().map_or("?", |(_, (_, name))| name.as_str())
    }

    /// An address as `function+0x12`.
    #[must_use]
    pub fn place(&self, address: u64) -> String {
        match self.symbols.range(..=address).next_back() {
            Some((start, (_, name))) if *start == address => name.clone(),
            Some((start, (_, name))) => format!("{name}+{:#x}", address - start),
            None => format!("{address:#x}"),
        }
    }

    /// What the code at an address says of its loop.
    #[must_use]
    pub fn bound(&self, address: u64) -> Option<Bound> {
        self.bounds.get(&address).copied()
    }

    /// Whether preempt-stats has a site here.
    #[must_use]
    pub fn is_hook(&self, address: u64) -> bool {
        self.hooks.contains(&address)
    }

    /// Whether a softirq gives way here.
    #[must_use]
    pub fn gives_way(&self, address: u64) -> bool {
        self.gives_way.contains(&address)
    }
}

impl Constants for Code {
    fn load(&self, address: u64, bytes: u8) -> Option<u64> {
        let section = self.section(address).filter(|section| !section.writable)?;
        let at = usize::try_from(address - section.address).ok()?;
        let data = section.data.get(at..at + usize::from(bytes))?;
        Some(data.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }
}

#[cfg(test)]
impl Code {
    /// Functions made by hand: each with its name and its instructions, one behind the other from `address` on; and
    /// bounds of loops, by address.
    pub fn by_hand(address: u64, functions: &[(&str, &[u32])], bounds: &[(u64, Bound)]) -> Self {
        let mut code = Self {
            sections: vec![Section { address, data: Vec::new(), writable: false, text: true }],
            patched: HashMap::new(),
            symbols: BTreeMap::new(),
            functions: std::collections::HashSet::new(),
            bounds: bounds.iter().copied().collect(),
            gives_way: std::collections::HashSet::new(),
            hooks: std::collections::HashSet::new(),
            pointers: Vec::new(),
        };
        let mut start = address;
        for (name, words) in functions {
            let end = start + words.len() as u64 * 4;
            code.symbols.insert(start, (end, (*name).to_owned()));
            code.functions.insert(start);
            code.sections[0].data.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            start = end;
        }
        code
    }

    /// The mask or the count changes there.
    pub fn hook(&mut self, address: u64) {
        self.hooks.insert(address);
    }

    /// A softirq gives way there.
    pub fn give_way(&mut self, address: u64) {
        self.gives_way.insert(address);
    }
}
