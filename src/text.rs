//! Texts for people: from elsewhere, made fit for a terminal; numbers; what an error says first.

use std::fmt::Display;

/// A text that a terminal shows and does not obey: control characters, and those that change the
/// direction of what follows, are written as \u{...}.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || turns || matches!(letter, '\u{2028}' | '\u{2029}') {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// 12400 -> "12,400"
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What went wrong, without what to do.
pub fn first_line(error: &(impl Display + ?Sized)) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{first_line, printable, thousands};

    #[test]
    fn numbers_and_errors_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(12_400), "12,400");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(first_line("what\nhint: fix"), "what");
    }

    #[test]
    fn no_name_reaches_the_terminal_raw() {
        assert_eq!(printable("Grün 靴.png"), "Grün 靴.png");
        assert_eq!(
            printable("\u{1b}[2Ja\n\u{202e}gnp"),
            "\\u{1b}[2Ja\\u{a}\\u{202e}gnp"
        );
        assert!(!printable(&('\0'..='\u{9f}').collect::<String>()).contains(char::is_control));
    }
}
