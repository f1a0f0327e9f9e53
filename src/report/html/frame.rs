//! What is around the content of every page: head, policy, navigation, footer, the script and its data.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::text::{Text, name};

const PAGE: &str = include_str!("../../../assets/report/report.html");
/// The style of all pages.
pub(in crate::report) const STYLE: &str = include_str!("../../../assets/report/report.css");

/// What every report begins with; a file that does not is not replaced.
pub(in crate::report) const MARK: &str = "<!doctype html>\n<!-- written by weft report -->\n";

/// A page, before it is put together.
pub(in crate::report) struct Frame<'a> {
    /// Plain text.
    pub(in crate::report) title: &'a str,
    /// HTML, as are `status` and `html`.
    pub(in crate::report) heading: &'a str,
    pub(in crate::report) status: &'a str,
    /// What the page is about goes on: it offers to load itself anew.
    pub(in crate::report) is_live: bool,
    /// The id of each section with its title, both plain text.
    pub(in crate::report) navigation: &'a [(String, String)],
    pub(in crate::report) html: &'a str,
    /// JSON, made by `text::json`.
    pub(in crate::report) data: &'a str,
    pub(in crate::report) style: &'a str,
    pub(in crate::report) scripts: &'a [&'a str],
}

impl Frame<'_> {
    /// The whole page.
    pub(in crate::report) fn page(&self) -> String {
        let links = self.navigation.iter();
        let links: String = links
            .map(|(id, title)| format!("<li><a href=\"#{}\">{}</a></li>", Text(id), name(title)))
            .collect();
        let script = format!(
            "(() => {{\n'use strict';\n{}}})();\n",
            self.scripts.concat()
        );
        let parts = [
            ("MARK", MARK),
            ("STYLE_HASH", &hash(self.style)),
            ("SCRIPT_HASH", &hash(&script)),
            ("TITLE", &Text(self.title).to_string()),
            ("STYLE", self.style),
            ("HEADING", self.heading),
            ("STATUS", self.status),
            ("LIVE", if self.is_live { " data-live" } else { "" }),
            ("NAVIGATION", &links),
            ("BODY", self.html),
            ("VERSION", env!("CARGO_PKG_VERSION")),
            ("DATA", self.data),
            ("SCRIPT", &script),
        ];
        fill(PAGE, &parts)
    }
}

/// A place for a chart: the script draws it, and the summary says in words what it shows.
pub(in crate::report) fn chart(key: &str, title: &str, summary: &str) -> String {
    format!(
        "<figure class=\"chart\" data-chart=\"{key}\"><figcaption>{title}</figcaption>\
         <div class=\"plot\"></div><p class=\"note\">{}</p></figure>\n",
        Text(summary)
    )
}

/// Puts the parts in their places, `{{NAME}}`. What a part holds is not looked at again.
fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (key, after) = after.split_once("}}").unwrap_or((after, ""));
        let part = parts.iter().find(|(name, _)| *name == key);
        page.push_str(before);
        page.push_str(part.map_or("", |(_, text)| text));
        rest = after;
    }
    page + rest
}

/// As a Content-Security-Policy names a script or a style that may stand in the page.
fn hash(text: &str) -> String {
    format!(
        "sha256-{}",
        STANDARD.encode(Sha256::digest(text.as_bytes()))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_not_taken_for_a_place() {
        let parts = [("A", "{{B}}"), ("B", "b")];
        assert_eq!(fill("<{{A}}-{{B}}>", &parts), "<{{B}}-b>");
    }
}
