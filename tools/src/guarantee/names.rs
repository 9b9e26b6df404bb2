//! From an address to the functions that are inlined there, with file and line.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use addr2line::gimli::{self, EndianSlice, LittleEndian};
use anyhow::{Context as _, Result};
use object::{Object, ObjectSection};

/// A name without what its generic parameters are.
#[must_use]
pub fn short(name: &str) -> String {
    let mut depth = 0usize;
    let mut out = String::new();
    let mut last = ' ';
    for (at, character) in name.char_indices() {
        match character {
            // A name in brackets at the start is the type of a method.
            '<' if at == 0 || last == '<' && depth == 0 => {}
            '<' => depth += 1,
            '>' if last == '-' => {}
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(character),
            _ => {}
        }
        last = character;
    }
    out.replace("::::", "::")
}

/// One function at an address, the innermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its readable name.
    pub function: String,
    /// `file:line`, seen from the repository's root where it is inside.
    pub place: String,
}

/// Who knows the functions at an address.
pub trait Inlined {
    /// The functions at an address, the innermost first; none for assembly.
    fn frames(&self, address: u64) -> Rc<[Frame]>;
}

/// See the module's text.
pub struct Names<'data> {
    context: addr2line::Context<EndianSlice<'data, LittleEndian>>,
    known: RefCell<HashMap<u64, Rc<[Frame]>>>,
}

impl<'data> Names<'data> {
    /// Reads the debug information of a linked image.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn read(elf: &'data [u8]) -> Result<Self> {
        let file = object::File::parse(elf).context("the image is not an ELF file")?;
        let load = |id: gimli::SectionId| -> Result<EndianSlice<'data, LittleEndian>> {
            let data = match file.section_by_name(id.name()) {
                Some(section) => section.data()?,
                None => &[],
            };
            Ok(EndianSlice::new(data, LittleEndian))
        };
        let dwarf = gimli::Dwarf::load(load)?;
        let context = addr2line::Context::from_dwarf(dwarf).context("the image's debug information")?;
        Ok(Self { context, known: RefCell::new(HashMap::new()) })
    }

    fn find(&self, address: u64) -> Option<Vec<Frame>> {
        let mut found = Vec::new();
        let mut frames = self.context.find_frames(address).skip_all_loads().ok()?;
        while let Ok(Some(frame)) = frames.next() {
            let function = frame.function.and_then(|name| {
                name.raw_name().ok().map(|raw| short(&format!("{:#}", rustc_demangle::demangle(&raw))))
            });
            let place = frame.location.map_or_else(String::new, |location| {
                let file = location.file.unwrap_or("?");
                // Of another crate the last two directories say enough.
                let short = match file.find("/registry/src/") {
                    Some(_) => {
                        let parts: Vec<&str> = file.rsplit('/').take(3).collect();
                        parts.into_iter().rev().collect::<Vec<_>>().join("/")
                    }
                    None => file.rsplit_once("/library/").map_or(file, |(_, rest)| rest).to_owned(),
                };
                format!("{short}:{}", location.line.unwrap_or(0))
            });
            found.push(Frame { function: function.unwrap_or_default(), place });
        }
        Some(found)
    }
}

impl Inlined for Names<'_> {
    fn frames(&self, address: u64) -> Rc<[Frame]> {
        if let Some(known) = self.known.borrow().get(&address) {
            return known.clone();
        }
        let frames: Rc<[Frame]> = self.find(address).unwrap_or_default().into();
        self.known.borrow_mut().insert(address, frames.clone());
        frames
    }
}
