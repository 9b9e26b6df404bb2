//! The bounds that are committed, beside what was measured.
//!
//! They stand in a file of the repository, one section for each model: `[bounds.full]`, then `name = instructions`. Other
//! sections are somebody else's. A file without figures, or none, makes no section of the page.

use std::fmt::Write;
use std::path::Path;

use crate::svg::{escape, grouped};

/// Where the bounds are, seen from the repository's root.
pub const FILE: &str = "tools/guarantee.toml";

/// Model, name, instructions.
type Bound = (String, String, u64);

/// The section with the committed bounds, or why there is none, in a line for the terminal.
///
/// # Errors
/// Not an error but a remark: there is nothing to show.
pub fn bounds(root: &Path) -> Result<String, String> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(|_| format!("no {FILE}, so no table of bounds"))?;
    let bounds = read(&text);
    if bounds.is_empty() {
        return Err(format!("{FILE} has no section [bounds.<model>] with figures, so no table of bounds"));
    }
    Ok(section(&bounds))
}

fn read(text: &str) -> Vec<Bound> {
    let mut model = None;
    let mut bounds = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            model = name.split(']').next().and_then(|name| name.strip_prefix("bounds."));
        } else if let (Some(model), Some((name, value))) = (model, line.split_once('=')) {
            let number = value.split('#').next().unwrap_or(value).trim();
            if let Ok(number) = number.replace('_', "").parse() {
                bounds.push((model.to_owned(), name.trim().trim_matches('"').to_owned(), number));
            }
        }
    }
    bounds
}

fn section(bounds: &[Bound]) -> String {
    let (mut models, mut names) = (Vec::new(), Vec::new());
    for (model, name, _) in bounds {
        if !models.contains(&model) {
            models.push(model);
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut html = String::from(
        "<h2>The bound</h2>\n<figure>\n<div class=\"scroll\"><table>\n<tr><th>at most, in instructions</th>",
    );
    for model in &models {
        let _ = write!(html, "<th>{}</th>", escape(model));
    }
    html += "</tr>\n";
    for name in names {
        let _ = write!(html, "<tr><td>{}</td>", escape(&name.replace('_', " ")));
        for model in &models {
            let found = bounds.iter().find(|(of, figure, _)| of == *model && figure == name);
            let _ =
                write!(html, "<td>{}</td>", found.map_or_else(|| "–".into(), |(.., value)| grouped(*value)));
        }
        html += "</tr>\n";
    }
    let _ = writeln!(
        html,
        "</table></div>\n<figcaption>Computed from the image, not measured: no path of it is longer ({FILE}, made by \
         <code>make guarantee</code>; one CPU, the drivers in the image)</figcaption>\n</figure>"
    );
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_each_model_are_read_and_nothing_else() {
        let text = "[loops]\n\"a\" = [20, \"why\"]\n[bounds.full]  # committed\nirqs = 1_234 # most\nwake_up = 900\n\
            [left_out]\nx = \"y\"\n[bounds.rt]\nirqs = 800\n";
        let bounds = read(text);
        let expected = [("full", "irqs", 1234), ("full", "wake_up", 900), ("rt", "irqs", 800)];
        assert_eq!(bounds, expected.map(|(model, name, value)| (model.into(), name.into(), value)));
        let html = section(&bounds);
        assert!(html.contains("<tr><td>irqs</td><td>1,234</td><td>800</td></tr>"), "{html}");
        assert!(html.contains("<tr><td>wake up</td><td>900</td><td>–</td></tr>"), "{html}");
    }

    #[test]
    fn without_figures_there_is_no_section_and_a_line_says_so() {
        let dir = std::env::temp_dir();
        assert!(bounds(&dir.join("nowhere")).unwrap_err().starts_with("no tools/guarantee.toml"));
        assert!(read("[loops]\n\"a\" = 5\n").is_empty());
    }
}
