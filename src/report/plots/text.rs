//! The embedded font: what it can draw, how wide a text is, where a long one breaks.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

use super::scene::{Anchor, Text};

/// DejaVu Sans, a part of it: see assets/fonts/README.md.
const FONT: &[u8] = include_bytes!("../../../assets/fonts/DejaVuSans-subset.ttf");

/// Of the distance between two lines, in parts of the font size.
pub(super) const LINE: f64 = 1.25;

/// Height of a capital letter, in parts of the font size.
pub(super) const CAPITAL: f64 = 0.73;

/// Room for a character that the font lacks. A viewer's own font draws it in an SVG; emoji are the
/// widest.
const UNKNOWN_WIDTH: f64 = 1.35;

static LOADED: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(FONT).expect("the embedded font is one"));

/// Draws a text with the embedded font: calls `pixel` with a pixel's distance from the text's place,
/// along the text and down from its baseline, and with the part of the pixel that is covered. A
/// character that the font lacks is a box.
///
/// * `scale`: pixels to one of the text's
pub(super) fn glyphs(text: &Text, scale: f64, mut pixel: impl FnMut(i32, i32, f32)) {
    // The font's scale is its height, where others count in the font size.
    let units = LOADED.units_per_em().unwrap_or(1.0);
    let size = PxScale::from((text.size * scale) as f32 * LOADED.height_unscaled() / units);
    let font = LOADED.as_scaled(size);
    let visible = || text.text.chars().filter(|&c| !is_invisible(c));
    let mut places = Vec::new();
    let (mut along, mut before) = (0.0, None);
    for character in visible() {
        let glyph = font.glyph_id(character);
        along += before.map_or(0.0, |before| font.kern(before, glyph));
        places.push((glyph, along));
        along += font.h_advance(glyph);
        before = Some(glyph);
    }
    let start = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -along / 2.0,
        Anchor::End => -along,
    };
    for (glyph, place) in places {
        let glyph = glyph.with_scale_and_position(size, point(start + place, 0.0));
        let Some(outline) = LOADED.outline_glyph(glyph) else {
            continue; // a space
        };
        let corner = outline.px_bounds().min;
        outline.draw(|x, y, part| {
            pixel(corner.x as i32 + x as i32, corner.y as i32 + y as i32, part);
        });
    }
}

/// Width of a line of text at a font size.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let units = LOADED.units_per_em().unwrap_or(1.0);
    let mut sum = 0.0;
    let mut before = None;
    for character in text.chars() {
        let glyph = LOADED.glyph_id(character);
        if is_invisible(character) {
            continue;
        }
        if glyph.0 == 0 {
            sum += UNKNOWN_WIDTH;
            before = None;
            continue;
        }
        let kern = before.map_or(0.0, |before| LOADED.kern_unscaled(before, glyph));
        sum += f64::from((LOADED.h_advance_unscaled(glyph) + kern) / units);
        before = Some(glyph);
    }
    sum * size
}

/// Whether the font has every character of a text.
pub(super) fn is_drawable(text: &str) -> bool {
    let mut characters = text.chars();
    characters.all(|character| LOADED.glyph_id(character).0 != 0)
}

/// Characters that join or choose others: they take no room, and the font has none of them.
pub(super) fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0020}'..='\u{e007f}')
}

/// A name as it can stand in a picture: XML and a line of text take no control characters.
pub(super) fn clean(name: &str) -> String {
    let allowed = |c: char| match c {
        c if c.is_control() => '\u{fffd}',
        '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c => c,
    };
    name.trim().chars().map(allowed).collect()
}

/// How the classes are called in the pictures. One that has no name, or whose name the font cannot
/// draw, goes by its number (and its name): boxes would all look the same.
pub(super) fn class_labels(names: &[String], n_classes: usize) -> Vec<String> {
    let label = |class: usize| {
        let name = names.get(class).map(|name| clean(name));
        match name {
            Some(name) if name.is_empty() => class.to_string(),
            Some(name) if is_drawable(&name) => name,
            // Isolated: a name from right to left turns nothing around it.
            Some(name) => format!("{class}: \u{2068}{name}\u{2069}"),
            None => class.to_string(),
        }
    };
    (0..n_classes).map(label).collect()
}

/// A text in lines of at most `most` width, broken after spaces and punctuation where that is
/// possible, else anywhere. Nothing is left out, but for spaces at the breaks.
pub(super) fn wrap(text: &str, size: f64, most: f64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while width(rest, size) > most {
        let at = break_of(rest, size, most);
        lines.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    lines.push(rest.to_owned());
    lines
}

/// Where the first line of a text that is too wide ends, in bytes; at least one character.
fn break_of(text: &str, size: f64, most: f64) -> usize {
    let (mut anywhere, mut soft) = (0, 0);
    let mut joined = false;
    for (at, character) in text.char_indices().skip(1) {
        let joins = is_invisible(character) || joined;
        joined = character == '\u{200d}';
        if joins {
            continue; // never within an emoji that several characters make
        }
        // A line may end in a space that no longer fits.
        if width(text[..at].trim_end(), size) > most {
            break;
        }
        anywhere = at;
        let before = text[..at].chars().next_back().unwrap_or(' ');
        let within_number = ".,:-".contains(before) && character.is_ascii_digit();
        if before.is_whitespace() || "/-_,.;:+|\\".contains(before) && !within_number {
            soft = at;
        }
    }
    let first = text.chars().next().map_or(0, char::len_utf8);
    let hard = anywhere.max(first);
    // A soft break that leaves most of the line empty is worse than a hard one.
    if soft * 3 >= hard { soft } else { hard }
}

/// Width of the widest of some lines.
pub(super) fn widest<'a>(lines: impl IntoIterator<Item = &'a String>, size: f64) -> f64 {
    let widths = lines.into_iter().map(|line| width(line, size));
    widths.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_wrapped_text_is_lost_and_every_line_fits() {
        let long = "x".repeat(200);
        for text in [
            "T-shirt/top",
            "",
            "a very long class name with several words",
            &long,
            "ℓ👩‍🚀👩‍🚀👩‍🚀👩‍🚀",
            "שלום עולם وداعا",
        ] {
            for most in [8.0, 40.0, 90.0, 1000.0] {
                let lines = wrap(text, 12.0, most);
                let without_spaces =
                    |text: &str| -> String { text.split_whitespace().collect::<String>() };
                assert_eq!(
                    without_spaces(&lines.concat()),
                    without_spaces(text),
                    "{most}"
                );
                let fits = |line: &String| {
                    width(line, 12.0) <= most
                        || line.chars().filter(|&c| !is_invisible(c)).count() <= 2
                };
                assert!(lines.iter().all(fits), "{most}: {lines:?}");
            }
        }
    }

    #[test]
    fn breaks_come_after_words_and_slashes() {
        assert_eq!(wrap("Ankle boot", 12.0, 50.0), ["Ankle", "boot"]);
        assert_eq!(wrap("T-shirt/top", 12.0, 52.0), ["T-shirt/", "top"]);
        assert_eq!(wrap("loss 0.4500", 12.0, 50.0), ["loss", "0.4500"]);
    }

    #[test]
    fn what_the_font_lacks_is_numbered_and_control_characters_go() {
        let names = ["Bag", "包", "a\u{0}b\nc", " "].map(str::to_owned);
        let labels = class_labels(&names, 5);
        assert_eq!(
            labels,
            [
                "Bag",
                "1: \u{2068}包\u{2069}",
                "a\u{fffd}b\u{fffd}c",
                "3",
                "4"
            ]
        );
    }

    #[test]
    fn widths_add_up() {
        assert!(width("mm", 10.0) > width("m", 10.0));
        assert!(width("Ωж", 10.0) > 0.0);
        assert!((width("a b", 20.0) - 2.0 * width("a b", 10.0)).abs() < 1e-9);
    }
}
