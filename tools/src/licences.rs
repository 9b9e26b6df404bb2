//! `stint-tools licences`: every dependency may be used in a firmware without asking anyone.
//!
//! Invariant: each package of the dependency tree, host tools included, offers at least one way to take it
//! under the licences of `ALLOWED` only. `OR` is a choice, `AND` binds both sides; a package without a licence
//! expression is refused, since nobody has said what it may be used for.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;

/// Licences without conditions on what links with them, by their SPDX names.
const ALLOWED: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "0BSD",
    "Zlib",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
];

/// Checks the whole dependency tree and prints how many packages it has.
///
/// # Errors
/// When a package may not be used; the message names each with its licence.
pub fn check() -> Result<()> {
    let metadata = cargo::metadata(&["--locked"])?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` lists no packages")?;
    let mut refused = Vec::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let (name, version, licence) = (text("name"), text("version"), text("license"));
        let verdict = if licence.is_empty() { Ok(false) } else { permits(&licence) };
        match verdict {
            Ok(true) => {}
            Ok(false) if licence.is_empty() => refused.push(format!("  {name} {version}: states no licence")),
            Ok(false) => refused.push(format!("  {name} {version}: {licence}")),
            Err(error) => refused.push(format!("  {name} {version}: {licence} ({error})")),
        }
    }
    if !refused.is_empty() {
        bail!(
            "these packages cannot be used under {}:\n{}\nreplace them: `cargo tree -i <package>` shows who needs each",
            ALLOWED.join(", "),
            refused.join("\n")
        );
    }
    println!("licences: {} packages, all permissive", packages.len());
    Ok(())
}

/// Whether an SPDX expression can be satisfied by allowed licences alone.
///
/// # Errors
/// When it is not an expression.
pub fn permits(expression: &str) -> Result<bool> {
    // Before SPDX expressions, a slash meant OR; some packages still write it so.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let verdict = either(&mut rest)?;
    ensure!(rest.is_empty(), "`{}` is left over", rest.join(" "));
    Ok(verdict)
}

/// `a OR b …`: OR binds weaker than AND.
fn either(rest: &mut &[&str]) -> Result<bool> {
    let mut verdict = both(rest)?;
    while let [word, tail @ ..] = *rest
        && word.eq_ignore_ascii_case("OR")
    {
        *rest = tail;
        verdict |= both(rest)?;
    }
    Ok(verdict)
}

/// `a AND b …`
fn both(rest: &mut &[&str]) -> Result<bool> {
    let mut verdict = one(rest)?;
    while let [word, tail @ ..] = *rest
        && word.eq_ignore_ascii_case("AND")
    {
        *rest = tail;
        verdict &= one(rest)?;
    }
    Ok(verdict)
}

/// A licence, with its exception, or an expression in parentheses.
fn one(rest: &mut &[&str]) -> Result<bool> {
    let [first, tail @ ..] = *rest else { bail!("a licence is missing") };
    *rest = tail;
    if *first == "(" {
        let verdict = either(rest)?;
        let [")", tail @ ..] = *rest else { bail!("a parenthesis is not closed") };
        *rest = tail;
        return Ok(verdict);
    }
    ensure!(*first != ")", "a parenthesis is not opened");
    if let ["WITH", exception, tail @ ..] = *rest {
        *rest = tail;
        // An exception only adds permissions, so the plain licence being allowed is enough.
        return Ok(ALLOWED.contains(first) || ALLOWED.contains(&format!("{first} WITH {exception}").as_str()));
    }
    Ok(ALLOWED.contains(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_enough_and_a_duty_is_not() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "Unlicense OR MIT",
            "BSD-2-Clause",
        ] {
            assert!(permits(good).unwrap(), "{good}");
        }
        for bad in
            ["GPL-3.0-or-later", "MPL-2.0", "MIT AND GPL-2.0", "(MIT OR MPL-2.0) AND MPL-2.0", "Proprietary"]
        {
            assert!(!permits(bad).unwrap(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_an_expression_is_refused() {
        for broken in ["", "MIT OR", "(MIT", "MIT)", "MIT Apache-2.0"] {
            assert!(permits(broken).is_err(), "{broken}");
        }
    }
}
