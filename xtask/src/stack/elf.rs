//! As much of an ELF as a look at its stack takes (ELF specification, 32 bits, little-endian).

use std::collections::BTreeMap;

const ALLOCATED: u32 = 2;
const NOTHING_IN_FILE: u32 = 8;
const SYMBOLS: u32 = 2;
const FUNCTION: u8 = 2;

struct Section {
    name: String,
    address: u32,
    bytes: Vec<u8>,
}

/// A program: what lies where, and its functions by address.
pub struct Elf {
    sections: Vec<Section>,
    /// Address without its lowest bit, and names: several where compilers merged what is equal.
    pub functions: BTreeMap<u32, Vec<String>>,
    /// Where code ends and constants begin, or the other way round (ARM IHI 0044, "Mapping symbols").
    code: BTreeMap<u32, bool>,
}

impl Elf {
    /// # Errors
    /// What is not as an ELF has it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.get(..6) != Some(&[0x7F, b'E', b'L', b'F', 1, 1]) {
            return Err("no ELF of 32 bits, little-endian".to_owned());
        }
        let file = File(bytes);
        let headers: Vec<_> = (0..u32::from(file.half(0x30)?))
            .map(|number| Ok(file.word(0x20)? + number * u32::from(file.half(0x2E)?)))
            .collect::<Result<_, String>>()?;
        let header = |number: usize| {
            headers.get(number).copied().ok_or_else(|| format!("no section {number}"))
        };
        let content = |at: u32| file.part(file.word(at + 0x10)?, file.word(at + 0x14)?);
        let names = content(header(usize::from(file.half(0x32)?))?)?;
        let mut elf =
            Self { sections: Vec::new(), functions: BTreeMap::new(), code: BTreeMap::new() };
        for &at in &headers {
            let (kind, flags) = (file.word(at + 4)?, file.word(at + 8)?);
            if flags & ALLOCATED != 0 && kind != NOTHING_IN_FILE {
                let (name, address) = (text(names, file.word(at)?), file.word(at + 0xC)?);
                elf.sections.push(Section { name, address, bytes: content(at)?.to_vec() });
            } else if kind == SYMBOLS {
                let strings = content(header(file.word(at + 0x18)? as usize)?)?;
                elf.read_symbols(content(at)?, strings)?;
            }
        }
        if elf.functions.is_empty() {
            return Err("it has no symbols".to_owned());
        }
        Ok(elf)
    }

    /// A program for a test: vectors, code and where it lies, functions.
    #[cfg(test)]
    pub fn of(vectors: &[u32], (address, code): (u32, Vec<u8>), all: &[(u32, String)]) -> Self {
        let bytes = vectors.iter().flat_map(|word| word.to_le_bytes()).collect();
        let vectors = Section { name: super::VECTORS.to_owned(), address: 0, bytes };
        let text = Section { name: ".text".to_owned(), address, bytes: code };
        Self {
            sections: vec![vectors, text],
            functions: all.iter().map(|(at, name)| (*at, vec![name.clone()])).collect(),
            code: BTreeMap::from([(0, false), (address, true)]),
        }
    }

    /// The same with constants in its code.
    #[cfg(test)]
    pub fn with_constants(mut self, range: std::ops::Range<u32>) -> Self {
        self.code.extend([(range.start, false), (range.end, true)]);
        self
    }

    fn read_symbols(&mut self, symbols: &[u8], strings: &[u8]) -> Result<(), String> {
        let file = File(symbols);
        for at in (0..symbols.len() as u32).step_by(16) {
            let (name, value) = (text(strings, file.word(at)?), file.word(at + 4)?);
            let kind = file.half(at + 12)? as u8 & 0xF;
            if kind == FUNCTION {
                self.functions.entry(value & !1).or_default().push(name);
            } else if name == "$t" || name.starts_with("$t.") {
                self.code.insert(value, true);
            } else if name == "$d" || name.starts_with("$d.") {
                self.code.insert(value, false);
            }
        }
        Ok(())
    }

    /// Whether instructions lie there.
    pub fn is_code(&self, address: u32) -> bool {
        self.code.range(..=address).next_back().is_some_and(|(_, code)| *code)
    }

    /// The two bytes there.
    pub fn half(&self, address: u32) -> Option<u16> {
        let mut bytes = self.at(address)?.iter();
        Some(u16::from_le_bytes([*bytes.next()?, *bytes.next()?]))
    }

    /// The four bytes there.
    pub fn word(&self, address: u32) -> Option<u32> {
        Some(u32::from(self.half(address)?) | u32::from(self.half(address + 2)?) << 16)
    }

    fn at(&self, address: u32) -> Option<&[u8]> {
        self.sections.iter().find_map(|section| {
            let offset = address.checked_sub(section.address)?;
            section.bytes.get(offset as usize..).filter(|rest| !rest.is_empty())
        })
    }

    /// The words of a section.
    pub fn words_of(&self, name: &str) -> Vec<u32> {
        let found = self.sections.iter().find(|section| section.name == name);
        let bytes = found.map_or(&[][..], |section| &section.bytes);
        bytes.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect()
    }

    /// Every constant, with its address: words that are no instructions, but for a section of this name.
    pub fn constants(&self, but: &str) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for section in self.sections.iter().filter(|section| section.name != but) {
            let last = section.address + section.bytes.len() as u32;
            for address in (section.address.next_multiple_of(4)..last).step_by(4) {
                if !self.is_code(address)
                    && let Some(word) = self.word(address)
                {
                    found.push((address, word));
                }
            }
        }
        found
    }

    /// A name for people.
    pub fn name(&self, function: u32) -> String {
        let name = self.functions.get(&function).and_then(|names| names.first());
        name.map_or_else(
            || format!("{function:#x}"),
            |name| format!("{:#}", rustc_demangle::demangle(name)),
        )
    }
}

struct File<'a>(&'a [u8]);

impl<'a> File<'a> {
    fn part(&self, at: u32, len: u32) -> Result<&'a [u8], String> {
        let (at, len) = (at as usize, len as usize);
        self.0.get(at..at + len).ok_or_else(|| format!("it ends before {:#x}", at + len))
    }

    fn half(&self, at: u32) -> Result<u16, String> {
        Ok(u16::from_le_bytes(self.part(at, 2)?.try_into().map_err(|_| "two bytes")?))
    }

    fn word(&self, at: u32) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.part(at, 4)?.try_into().map_err(|_| "four bytes")?))
    }
}

fn text(strings: &[u8], at: u32) -> String {
    let rest = strings.get(at as usize..).unwrap_or_default();
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    String::from_utf8_lossy(&rest[..end]).into_owned()
}
