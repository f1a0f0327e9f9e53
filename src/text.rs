//! Text from elsewhere, made fit for a terminal.

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

#[cfg(test)]
mod tests {
    use super::printable;

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
