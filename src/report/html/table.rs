//! Tables of the page: they scroll in their own box, and those that sort are turned into such by the
//! page's script.

use std::fmt::Write as _;

use super::text::Text;

pub(in crate::report) struct Table {
    html: String,
    sorts: bool,
}

/// A cell: its HTML, and the number that it sorts by where that is not its text.
pub(in crate::report) struct Cell {
    html: String,
    value: Option<f64>,
    number: bool,
}

/// A text that is HTML already.
pub(in crate::report) fn html(html: impl Into<String>) -> Cell {
    Cell {
        html: html.into(),
        value: None,
        number: false,
    }
}

pub(in crate::report) fn words(text: &str) -> Cell {
    html(Text(text).to_string())
}

/// A number as it is shown, and as it sorts.
pub(in crate::report) fn number(shown: impl Into<String>, value: f64) -> Cell {
    Cell {
        html: Text(&shown.into()).to_string(),
        value: Some(value),
        number: true,
    }
}

/// A number with a bar of HTML beside it.
pub(in crate::report) fn with_bar(shown: &str, value: f64, bar: &str) -> Cell {
    let cell = number(shown, value);
    Cell {
        html: format!("{}{bar}", cell.html),
        ..cell
    }
}

impl Table {
    /// `head`: the title of each column, with a leading `#` if numbers stand in it.
    pub(in crate::report) fn new(label: &str, class: &str, sorts: bool, head: &[&str]) -> Self {
        let sort = if sorts { " data-sort" } else { "" };
        let mut html = format!(
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\">\
             <table class=\"{class}\"{sort}><thead><tr>",
            Text(label)
        );
        for title in head {
            let (class, title) = match title.strip_prefix('#') {
                Some(title) => (" class=\"n\"", title),
                None => ("", *title),
            };
            let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", Text(title));
        }
        html.push_str("</tr></thead><tbody>\n");
        Self { html, sorts }
    }

    /// The first cell heads the row.
    pub(in crate::report) fn row(&mut self, class: &str, cells: &[Cell]) {
        match class {
            "" => self.html.push_str("<tr>"),
            class => {
                let _ = write!(self.html, "<tr class=\"{class}\">");
            }
        }
        for (index, cell) in cells.iter().enumerate() {
            let tag = if index == 0 { "th scope=\"row\"" } else { "td" };
            let class = if cell.number { " class=\"n\"" } else { "" };
            let value = cell.value.filter(|_| self.sorts);
            let value = value.map_or(String::new(), |value| format!(" data-v=\"{value}\""));
            let end = if index == 0 { "th" } else { "td" };
            let _ = write!(self.html, "<{tag}{class}{value}>{}</{end}>", cell.html);
        }
        self.html.push_str("</tr>\n");
    }

    pub(in crate::report) fn end(mut self) -> String {
        self.html.push_str("</tbody></table></div>\n");
        self.html
    }
}

/// A bar of `part` (0 to 1) of the full length; it says nothing that the number beside it does not.
pub(in crate::report) fn bar(part: f64, class: &str) -> String {
    let width = 100.0 * part.clamp(0.0, 1.0);
    format!(
        "<svg class=\"bar {class}\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\"><rect width=\"100\" height=\"8\" class=\"bar-all\"/>\
         <rect width=\"{width:.1}\" height=\"8\" class=\"bar-part\"/></svg>"
    )
}

/// A list of names with what they are, as HTML.
pub(in crate::report) fn facts(rows: &[(&str, String)]) -> String {
    let mut html = String::from("<dl class=\"facts\">\n");
    for (name, value) in rows {
        let _ = writeln!(html, "<div><dt>{}</dt><dd>{value}</dd></div>", Text(name));
    }
    html.push_str("</dl>\n");
    html
}
