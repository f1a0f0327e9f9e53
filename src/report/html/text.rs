//! What is written into the page: text that is escaped, numbers as people read them.

use std::fmt;

use serde::Serialize;

/// Escapes for HTML, in text and in quoted attributes.
pub(in crate::report) struct Text<'a>(pub(in crate::report) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Not allowed in a page, whatever is before it.
                '\0' => f.write_str("\u{fffd}")?,
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

/// A name from outside. It is isolated: letters that run from right to left, or the marks that turn a
/// line around, change nothing behind it.
pub(in crate::report) fn name(name: &str) -> String {
    format!("<bdi>{}</bdi>", Text(name))
}

/// JSON that may stand in a `<script>`: nothing in it can end the element or begin a comment, and it
/// stays one text for parsers that take U+2028 for the end of a line.
pub(in crate::report) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let plain = serde_json::to_string(value)?;
    let mut safe = String::with_capacity(plain.len() + plain.len() / 16);
    for letter in plain.chars() {
        match letter {
            // These stand only within strings.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            other => safe.push(other),
        }
    }
    Ok(safe)
}

/// `0.9094`; "NaN" and "infinite" are words.
pub(in crate::report) fn fixed(value: f64, digits: usize) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => "infinite".to_owned(),
        value => format!("{value:.digits$}"),
    }
}

/// A part of one as `90.94 %`, with a space that does not break.
pub(in crate::report) fn percent(part: f64, digits: usize) -> String {
    format!("{}\u{a0}%", fixed(100.0 * part, digits))
}

/// A learning rate, such as `3.0e-3`.
pub(in crate::report) fn rate(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:.1e}"),
        false => fixed(value, 1),
    }
}

/// `80 s`, `12 min 5 s`, `3 h 20 min`.
pub(in crate::report) fn duration(seconds: f64) -> String {
    if !(0.0..1e15).contains(&seconds) {
        return fixed(seconds, 0);
    }
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1}\u{a0}s"),
        10..120 => format!("{whole}\u{a0}s"),
        120..7200 => format!("{}\u{a0}min {}\u{a0}s", whole / 60, whole % 60),
        _ => format!("{}\u{a0}h {}\u{a0}min", whole / 3600, whole / 60 % 60),
    }
}

/// "1 image", "2 images".
pub(in crate::report) fn count(n: u64, one: &str) -> String {
    let n_text = crate::text::thousands(n);
    match n {
        1 => format!("1 {one}"),
        _ => format!("{n_text} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        let hostile = "</script><img src=x onerror=\"alert('1')\">&\0";
        assert_eq!(
            Text(hostile).to_string(),
            "&lt;/script&gt;&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;\u{fffd}"
        );
        let safe = json(&[hostile, "<!--\u{2028}"]).unwrap();
        assert!(!safe.contains(['<', '>', '&', '\u{2028}']), "{safe}");
        let back: Vec<String> = serde_json::from_str(&safe).unwrap();
        assert_eq!(back, [hostile, "<!--\u{2028}"]);
    }

    #[test]
    fn numbers_are_as_people_write_them() {
        assert_eq!(percent(0.90944, 2), "90.94\u{a0}%");
        assert_eq!(fixed(f64::NAN, 4), "NaN");
        assert_eq!(rate(0.003), "3.0e-3");
        assert_eq!(duration(3.12), "3.1\u{a0}s");
        assert_eq!(duration(119.0), "119\u{a0}s");
        assert_eq!(duration(725.0), "12\u{a0}min 5\u{a0}s");
        assert_eq!(duration(12_000.0), "3\u{a0}h 20\u{a0}min");
        assert_eq!(count(1, "image"), "1 image");
        assert_eq!(count(1_200, "image"), "1,200 images");
    }
}
