//! Small device trees for tests, written node by node.

use std::vec::Vec;

use super::fdt;

/// Writes small device trees.
#[derive(Default)]
pub(crate) struct Builder {
    structure: Vec<u8>,
    strings: Vec<u8>,
    pub(crate) reservations: Vec<(u64, u64)>,
}

impl Builder {
    fn word(&mut self, word: u32) {
        self.structure.extend(word.to_be_bytes());
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        while !self.structure.len().is_multiple_of(4) {
            self.structure.push(0);
        }
    }

    pub(crate) fn begin(&mut self, name: &str) -> &mut Self {
        self.word(1);
        self.padded(&[name.as_bytes(), b"\0"].concat());
        self
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        self.word(2);
        self
    }

    pub(crate) fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.word(3);
        self.word(value.len() as u32);
        self.word(at);
        self.padded(value);
        self
    }

    pub(crate) fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        let value: Vec<u8> = cells.iter().flat_map(|c| c.to_be_bytes()).collect();
        self.bytes(name, &value)
    }

    pub(crate) fn text(&mut self, name: &str, texts: &[&str]) -> &mut Self {
        let value: Vec<u8> = texts.iter().flat_map(|t| [t.as_bytes(), b"\0"].concat()).collect();
        self.bytes(name, &value)
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.word(9);
        let rsvmap: Vec<u8> = self
            .reservations
            .iter()
            .chain(&[(0, 0)])
            .flat_map(|(start, bytes)| [start.to_be_bytes(), bytes.to_be_bytes()].concat())
            .collect();
        let at_struct = 40 + rsvmap.len();
        let at_strings = at_struct + self.structure.len();
        let total = at_strings + self.strings.len();
        let header = [
            fdt::MAGIC,
            total as u32,
            at_struct as u32,
            at_strings as u32,
            40,
            17,
            16,
            0,
            self.strings.len() as u32,
            self.structure.len() as u32,
        ];
        let mut blob: Vec<u8> = header.iter().flat_map(|w| w.to_be_bytes()).collect();
        blob.extend(rsvmap);
        blob.extend(&self.structure);
        blob.extend(&self.strings);
        blob
    }
}
