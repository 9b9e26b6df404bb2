//! The flattened device tree: checking it, walking it, and reading addresses out of it.
//!
//! `dtoolkit` checks the structure once ([`Tree::open`]); what the properties say is checked here, with
//! our own reading of cells, so that no tree, however wrong, can make the kernel panic: every answer is a
//! value or `None`. The crate is young and changes its face often; this file and `machine.rs` are the
//! only ones that know it.
//!
//! Context: any, pure. Costs: a look-up walks the tree, so look things up once, at boot.
//! Format: Devicetree Specification v0.4, chapters 2 and 5.
#![forbid(unsafe_code)]

use core::fmt;

use dtoolkit::error::FdtParseError;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

/// First word of every device tree, big endian.
pub const MAGIC: u32 = 0xd00d_feed;
/// Bytes one must be able to read to know how long the tree is.
pub const HEADER_BYTES: usize = 40;
/// A loader may not pass more (arm64 boot protocol).
pub const MAX_BYTES: usize = 2 << 20;
/// Nesting deeper than any real tree: a walk goes no further.
const MAX_DEPTH: usize = 16;

/// What is wrong with a device tree.
#[derive(Clone, Debug)]
pub enum FdtError {
    /// The first word is not the magic number.
    Magic(u32),
    /// The header gives a length no tree can have.
    Length(u32),
    /// The structure is broken.
    Structure(FdtParseError),
    /// A node or property the kernel cannot do without.
    Missing(&'static str),
}

impl fmt::Display for FdtError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "bad magic {found:08x}"),
            Self::Length(bytes) => {
                write!(f, "length {bytes} bytes; expected {HEADER_BYTES} to {MAX_BYTES}")
            }
            Self::Structure(error) => write!(f, "damaged: {error}"),
            Self::Missing(what) => write!(f, "has no {what}"),
        }
    }
}

/// Length of the tree whose first bytes are `head`, if they are the beginning of one.
pub fn blob_bytes(head: &[u8]) -> Result<usize, FdtError> {
    let word = |i: usize| {
        let bytes = head.get(i * 4..i * 4 + 4).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    };
    if word(0) != MAGIC {
        return Err(FdtError::Magic(word(0)));
    }
    let bytes = word(1) as usize;
    if !(HEADER_BYTES..=MAX_BYTES).contains(&bytes) {
        return Err(FdtError::Length(word(1)));
    }
    Ok(bytes)
}

/// A device tree whose structure has been checked.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    fdt: Fdt<'a>,
}

/// A node together with the buses above it, innermost first.
pub struct Entry<'a, 'w> {
    node: FdtNode<'a>,
    parent: Option<&'w Entry<'a, 'w>>,
}

impl<'a> Tree<'a> {
    /// Checks `blob` (exactly the tree, see [`blob_bytes`]).
    pub fn open(blob: &'a [u8]) -> Result<Self, FdtError> {
        let bytes = blob_bytes(blob)?;
        if bytes != blob.len() {
            return Err(FdtError::Length(bytes as u32));
        }
        Fdt::new(blob).map(|fdt| Self { fdt }).map_err(FdtError::Structure)
    }

    /// The bytes of the tree.
    pub fn blob(&self) -> &'a [u8] {
        self.fdt.data()
    }

    /// Calls `visit` for every node, parents first, until it returns `Some`.
    pub fn walk<R>(&self, visit: &mut dyn FnMut(&Entry<'a, '_>) -> Option<R>) -> Option<R> {
        walk_from(&Entry { node: self.fdt.root(), parent: None }, MAX_DEPTH, visit)
    }

    /// A property of the root node.
    pub fn root_property(&self, name: &str) -> Option<&'a [u8]> {
        property(&self.fdt.root(), name)
    }

    /// A property of the node at an absolute path.
    pub fn property(&self, path: &str, name: &str) -> Option<&'a [u8]> {
        property(&self.fdt.find_node(path)?, name)
    }

    /// A text property of the node at an absolute path.
    pub fn text(&self, path: &str, name: &str) -> Option<&'a str> {
        self.property(path, name).and_then(first_text)
    }

    /// Calls `use_it` with the node whose `phandle` is `handle`.
    pub fn with_phandle<R>(&self, handle: u32, use_it: &mut dyn FnMut(&Entry<'a, '_>) -> R) -> Option<R> {
        self.walk(&mut |entry| (entry.number("phandle") == Some(handle)).then(|| use_it(entry)))
    }

    /// Ranges of the reservation block: `(start, bytes)`.
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + 'a {
        self.fdt.memory_reservations().map(|r| (r.address(), r.size()))
    }
}

fn walk_from<'a, R>(
    entry: &Entry<'a, '_>,
    depth_left: usize,
    visit: &mut dyn FnMut(&Entry<'a, '_>) -> Option<R>,
) -> Option<R> {
    if let Some(answer) = visit(entry) {
        return Some(answer);
    }
    if depth_left == 0 {
        return None;
    }
    entry
        .node
        .children()
        .find_map(|node| walk_from(&Entry { node, parent: Some(entry) }, depth_left - 1, visit))
}

impl<'a> Entry<'a, '_> {
    /// Name with the unit address.
    pub fn name(&self) -> &'a str {
        self.node.name()
    }

    /// Name without the unit address.
    pub fn base_name(&self) -> &'a str {
        self.name().split('@').next().unwrap_or("")
    }

    /// The node one level up.
    pub fn parent(&self) -> Option<&Entry<'a, '_>> {
        self.parent
    }

    /// Levels below the root.
    pub fn depth(&self) -> usize {
        self.parent.map_or(0, |p| p.depth() + 1)
    }

    /// Whether the node is at `path`, each component with or without its unit address.
    pub fn is_at(&self, path: &str) -> bool {
        let Some((above, last)) = path.rsplit_once('/') else { return false };
        match self.parent {
            None => above.is_empty() && last.is_empty(),
            Some(parent) => {
                (last == self.name() || last == self.base_name())
                    && !last.is_empty()
                    && parent.is_at(if above.is_empty() { "/" } else { above })
            }
        }
    }

    /// A property's bytes.
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        property(&self.node, name)
    }

    /// A property that is one 32-bit number.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.property(name)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A property that is text (the first string if it is a list).
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.property(name).and_then(first_text)
    }

    /// Whether `compatible` lists `what`.
    pub fn is_compatible(&self, what: &str) -> bool {
        self.property("compatible").is_some_and(|list| texts(list).any(|s| s == what))
    }

    /// Whether the node may be used: `status` absent, "okay" or "ok".
    pub fn is_okay(&self) -> bool {
        self.property("status").is_none_or(|status| matches!(first_text(status), Some("okay" | "ok")))
    }

    /// Raw `(address, bytes)` number `index` of `reg`, in the address space of the parent.
    pub fn raw_reg(&self, index: usize) -> Option<(u64, u64)> {
        let parent = self.parent?;
        let (address_cells, size_cells) = (parent.address_cells(), parent.size_cells());
        let mut cells = Cells(self.property("reg")?);
        for _ in 0..index {
            cells.take(address_cells)?;
            cells.take(size_cells)?;
        }
        Some((cells.take(address_cells)?, cells.take(size_cells)?))
    }

    /// Physical `(address, bytes)` number `index` of `reg`: translated through every bus above.
    pub fn reg(&self, index: usize) -> Option<(u64, u64)> {
        let (address, bytes) = self.raw_reg(index)?;
        Some((self.parent?.to_physical(address)?, bytes))
    }

    /// Translates an address of this bus into a physical one.
    fn to_physical(&self, address: u64) -> Option<u64> {
        let Some(parent) = self.parent else { return Some(address) };
        let ranges = self.property("ranges")?;
        if ranges.is_empty() {
            return parent.to_physical(address);
        }
        // Each turn takes a size at least, so the loop ends with the cells.
        let mut cells = Cells(ranges);
        while self.size_cells() > 0 {
            let child = cells.take(self.address_cells())?;
            let above = cells.take(parent.address_cells())?;
            let bytes = cells.take(self.size_cells())?;
            if address.checked_sub(child).is_some_and(|offset| offset < bytes) {
                return parent.to_physical(above.checked_add(address - child)?);
            }
        }
        None
    }

    fn address_cells(&self) -> u32 {
        self.number("#address-cells").unwrap_or(2)
    }

    fn size_cells(&self) -> u32 {
        self.number("#size-cells").unwrap_or(1)
    }
}

/// Big-endian 32-bit cells, read from the front.
pub struct Cells<'a>(pub &'a [u8]);

impl Cells<'_> {
    /// A number of `cells` cells: none is 0, two are 64 bits, more are nothing we can use.
    pub fn take(&mut self, cells: u32) -> Option<u64> {
        if cells > 2 {
            return None;
        }
        let mut value = 0;
        for _ in 0..cells {
            let (cell, rest) = self.0.split_first_chunk::<4>()?;
            value = value << 32 | u64::from(u32::from_be_bytes(*cell));
            self.0 = rest;
        }
        Some(value)
    }
}

/// The strings of a list property.
pub fn texts(list: &[u8]) -> impl Iterator<Item = &str> {
    list.split(|&b| b == 0).filter(|s| !s.is_empty()).filter_map(|s| core::str::from_utf8(s).ok())
}

fn first_text(value: &[u8]) -> Option<&str> {
    let end = value.iter().position(|&b| b == 0)?;
    core::str::from_utf8(&value[..end]).ok()
}

fn property<'a>(node: &FdtNode<'a>, name: &str) -> Option<&'a [u8]> {
    node.property(name)?.value_as::<&'a [u8]>().ok()
}
