//! What the code cannot say of itself: `tools/guarantee.toml`.
//!
//! Loops of libraries, the targets of indirect calls, and what the guarantee leaves out, each with its reason; and the
//! bounds that are committed. The format is the part of TOML that this needs:
//!
//! ```toml
//! [loops]                       # the function that the loop is in → passes of its body, reason
//! "rlsf::tlsf" = [2, "why"]
//! [bytes]                       # called with a length in x2 → instructions, and more for each byte
//! "memcpy" = [90, 3]
//! [copies]                      # where such a length is no constant → the most, reason
//! "klog::emit" = [200, "why"]
//! [calls."irq::line::handle"]   # an indirect call in this function → a function that it can reach, reason
//! "time::tick" = "why"
//! [recursion]                   # a function that calls itself → how deep, reason
//! "visit_range" = [4, "why"]
//! [absent]                      # never executed where the guarantee holds, reason; `[absent.rt]`: in that model
//! "smp::hotplug" = "why"
//! [masked]                      # called with interrupts masked and never otherwise, reason
//! "softirq::run_now" = "why"
//! [alone]                       # passes of what the code bounds by a higher number, where one timer is due
//! "hrtimer::run_expired" = [2, "why"]
//! [left_out]                    # not followed where the CPU is closed, reason: conditions of the guarantee
//! "irq::line::nobody" = "why"
//! [measured]                    # as left_out, but executed: a section through it is not computed, but measured alone
//! "mm::frames" = "why"
//! [bounds.full]                 # the committed figures
//! irqs = 1234
//! ```
//!
//! A name stands for every function that contains it. Invariant: each entry is used, or it is an error: no entry outlives
//! what it was for.
#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Where the limits are, seen from the repository's root.
pub const FILE: &str = "tools/guarantee.toml";

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    loops: Vec<(String, u64, String)>,
    bytes: Vec<(String, u64, u64)>,
    copies: Vec<(String, u64, String)>,
    calls: Vec<(String, String, String)>,
    recursion: Vec<(String, u64, String)>,
    absent: Vec<(String, String)>,
    absent_in: Vec<(String, String, String)>,
    alone: Vec<(String, u64, String)>,
    is_alone: bool,
    masked: Vec<(String, String)>,
    left_out: Vec<(String, String)>,
    measured: Vec<(String, String)>,
    bounds: Vec<(String, String, u64)>,
}

impl Limits {
    /// Reads the committed limits.
    ///
    /// # Errors
    /// When the file cannot be read or understood; the message names the line.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} cannot be understood", path.display()))
    }

    /// Understands the text.
    ///
    /// # Errors
    /// At the first line that is none of those above.
    pub fn parse(text: &str) -> Result<Self> {
        let mut limits = Self::default();
        let mut section = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(name) => {
                    section = name.splitn(2, '.').map(|part| part.trim_matches('"').to_owned()).collect();
                    continue;
                }
                None => line.split_once(" = "),
            };
            let Some((key, value)) = entry else {
                bail!("line {}: `{line}` is neither `[section]` nor `name = value`", index + 1);
            };
            let key = key.trim().trim_matches('"').to_owned();
            limits
                .add(&section, key, value.trim())
                .with_context(|| format!("line {}: `{line}`", index + 1))?;
        }
        Ok(limits)
    }

    fn add(&mut self, section: &[String], key: String, value: &str) -> Result<()> {
        let section: Vec<&str> = section.iter().map(String::as_str).collect();
        match section[..] {
            ["loops"] => {
                let (passes, reason) = pair(value)?;
                self.loops.push((key, passes, text(reason)?));
            }
            ["copies"] => {
                let (bytes, reason) = pair(value)?;
                self.copies.push((key, bytes, text(reason)?));
            }
            ["bytes"] => {
                let (base, more) = pair(value)?;
                let more = more.parse().ok().with_context(|| format!("`{more}` is no whole number"))?;
                self.bytes.push((key, base, more));
            }
            ["calls", site] => self.calls.push((site.to_owned(), key, text(value)?)),
            ["absent"] => self.absent.push((key, text(value)?)),
            ["absent", model] => self.absent_in.push((model.to_owned(), key, text(value)?)),
            ["masked"] => self.masked.push((key, text(value)?)),
            ["alone"] => {
                let (passes, reason) = pair(value)?;
                self.alone.push((key, passes, text(reason)?));
            }
            ["left_out"] => self.left_out.push((key, text(value)?)),
            ["measured"] => self.measured.push((key, text(value)?)),
            ["recursion"] => {
                let (depth, reason) = pair(value)?;
                self.recursion.push((key, depth, text(reason)?));
            }
            ["bounds", model] => {
                let most = value.parse().ok().with_context(|| format!("`{value}` is no whole number"))?;
                self.bounds.push((model.to_owned(), key, most));
            }
            _ => bail!("there is no section [{}]", section.join(".")),
        }
        Ok(())
    }

    /// The limits of one model, and of interrupts in which one timer is due.
    #[must_use]
    pub fn on(&self, model: &str, alone: bool) -> Self {
        let mut limits = self.clone();
        let here = self.absent_in.iter().filter(|(of, ..)| of == model);
        limits.absent.extend(here.map(|(_, name, reason)| (name.clone(), reason.clone())));
        limits.is_alone = alone;
        limits
    }

    /// The passes of a loop that the code bounds, where less is assumed.
    pub fn passes(&self, is_within: impl Fn(&str) -> bool) -> Option<(&str, u64)> {
        let assumed = self.alone.iter().filter(|_| self.is_alone).find(|(name, ..)| is_within(name));
        assumed.map(|(name, passes, _)| (name.as_str(), *passes))
    }

    /// Loops by the function that they are in, with the passes of their body.
    pub fn loops(&self) -> impl Iterator<Item = (&str, u64)> {
        self.loops.iter().map(|(name, passes, _)| (name.as_str(), *passes))
    }

    /// What a function costs that takes a number of bytes in x2: at all, and for each.
    #[must_use]
    pub fn bytes(&self, function: &str) -> Option<(u64, u64)> {
        self.bytes.iter().find(|(name, ..)| name == function).map(|(_, base, more)| (*base, *more))
    }

    /// The most bytes, where a caller's number is not a constant.
    pub fn copied(&self, is_within: impl Fn(&str) -> bool) -> Option<(&str, u64)> {
        self.copies.iter().find(|(name, ..)| is_within(name)).map(|(name, bytes, _)| (name.as_str(), *bytes))
    }

    /// Indirect calls and their targets.
    pub fn calls(&self) -> impl Iterator<Item = (&str, &str)> {
        self.calls.iter().map(|(site, target, _)| (site.as_str(), target.as_str()))
    }

    /// How deep a function calls itself, if it may.
    #[must_use]
    pub fn recursion(&self, function: &str) -> Option<(&str, u64)> {
        let found = self.recursion.iter().find(|(name, ..)| function.contains(name.as_str()));
        found.map(|(name, depth, _)| (name.as_str(), *depth))
    }

    /// The entry by which a function is never executed.
    #[must_use]
    pub fn absent(&self, function: &str) -> Option<&str> {
        self.absent.iter().find(|(name, _)| function.contains(name.as_str())).map(|(name, _)| name.as_str())
    }

    /// The entry by which a function is not followed where the CPU is closed.
    #[must_use]
    pub fn left_out(&self, function: &str) -> Option<&str> {
        let all = self.left_out.iter().chain(&self.measured);
        all.map(|(name, _)| name.as_str()).find(|name| function.contains(name))
    }

    /// The entry by which a function is called with interrupts masked alone.
    #[must_use]
    pub fn masked(&self, function: &str) -> Option<&str> {
        self.masked.iter().find(|(name, _)| function.contains(name.as_str())).map(|(name, _)| name.as_str())
    }

    /// What the guarantee leaves out, with the reasons.
    pub fn conditions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.absent.iter().chain(&self.left_out).map(|(name, reason)| (name.as_str(), reason.as_str()))
    }

    /// The committed bound of a figure.
    #[must_use]
    pub fn committed(&self, model: &str, figure: &str) -> Option<u64> {
        self.bounds.iter().find(|(of, name, _)| of == model && name == figure).map(|(.., most)| *most)
    }

    /// What is assumed of loops that do not say it themselves: how often they go back, and why.
    pub fn assumed(&self) -> impl Iterator<Item = (&str, u64, &str)> {
        self.loops.iter().map(|(name, times, reason)| (name.as_str(), *times, reason.as_str()))
    }

    /// What is executed and not computed, with the reasons.
    pub fn measured(&self) -> impl Iterator<Item = (&str, &str)> {
        self.measured.iter().map(|(name, reason)| (name.as_str(), reason.as_str()))
    }

    /// Every entry that an analysis uses by name, as [`super::walk::Walker::used`] has it.
    pub fn entries(&self) -> impl Iterator<Item = String> {
        let loops = self.loops.iter().map(|(name, ..)| name.clone());
        let copies = self.copies.iter().map(|(name, ..)| name.clone());
        let calls = self.calls.iter().map(|(site, target, _)| format!("{site} -> {target}"));
        let recursion = self.recursion.iter().map(|(name, ..)| name.clone());
        let names =
            self.absent.iter().chain(&self.left_out).chain(&self.measured).map(|(name, _)| name.clone());
        let alone = self.alone.iter().map(|(name, ..)| name.clone());
        let absent = self.absent_in.iter().map(|(_, name, _)| name.clone());
        loops.chain(copies).chain(calls).chain(recursion).chain(names).chain(alone).chain(absent)
    }
}

/// `[number, rest]`.
fn pair(value: &str) -> Result<(u64, &str)> {
    let inner = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let (number, rest) = inner.and_then(|inner| inner.split_once(',')).context("`[number, …]` is needed")?;
    let number = number.trim();
    let number = number.parse().ok().with_context(|| format!("`{number}` is no whole number"))?;
    Ok((number, rest.trim()))
}

/// `"text"`, which is not empty.
fn text(value: &str) -> Result<String> {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.filter(|inner| !inner.is_empty()).context("a reason in quotes is needed")?;
    Ok(inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_understood() {
        let limits = Limits::parse(
            "# a comment\n[loops]\n\"a\" = [3, \"why\"]\n[bytes]\n\"memcpy\" = [90, 3]\n[copies]\n\"b\" = [9, \"why\"]\n\
             [calls.\"x::y\"]\n\"z\" = \"why\"\n[recursion]\n\"r\" = [4, \"why\"]\n[absent]\n\"s\" = \"why\"\n\
             [absent.rt]\n\"t\" = \"why\"\n[left_out]\n\"u\" = \"why\"\n[measured]\n\"v\" = \"why\"\n[masked]\n\"w\" = \
             \"why\"\n[alone]\n\"q\" = [2, \"why\"]\n[bounds.full.alone]\nirqs = 12\n",
        )
        .unwrap();
        assert_eq!(limits.loops().collect::<Vec<_>>(), [("a", 3)]);
        assert_eq!(limits.bytes("memcpy"), Some((90, 3)));
        assert_eq!(limits.copied(|name| name == "b"), Some(("b", 9)));
        assert_eq!(limits.calls().collect::<Vec<_>>(), [("x::y", "z")]);
        assert_eq!(limits.recursion("the r here"), Some(("r", 4)));
        assert!(limits.absent("s").is_some() && limits.absent("t").is_none());
        assert!(
            limits.on("rt", false).absent("t").is_some() && limits.on("full", false).absent("t").is_none()
        );
        assert!(limits.left_out("u").is_some() && limits.left_out("v").is_some());
        assert_eq!(limits.masked("w"), Some("w"));
        assert_eq!(limits.passes(|name| name == "q"), None);
        assert_eq!(limits.on("full", true).passes(|name| name == "q"), Some(("q", 2)));
        assert_eq!(limits.committed("full.alone", "irqs"), Some(12));
        assert_eq!(limits.committed("full", "irqs"), None);
    }

    #[test]
    fn a_reason_is_needed_and_a_mistake_is_told_with_its_line() {
        for (text, says) in [
            ("[loops]\n\"a\" = [3]", "line 2"),
            ("[left_out]\n\"a\" = \"\"", "a reason in quotes"),
            ("[loops]\n\"a\" = [many, \"why\"]", "`many` is no whole number"),
            ("[nothing]\n\"a\" = \"why\"", "there is no section [nothing]"),
            ("a line", "neither"),
        ] {
            let message = format!("{:#}", Limits::parse(text).unwrap_err());
            assert!(message.contains(says), "{message}");
        }
    }
}
