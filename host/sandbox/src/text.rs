//! Takes out of guest text what a terminal or a page would obey instead of show.
//!
//! Invariant: what [`plain`] returns holds no control character, no escape sequence and no character that turns the
//! direction of writing.

/// The text as one line of visible characters: escape sequences go, line breaks and tabs become spaces.
#[must_use]
pub fn plain(text: &str) -> String {
    // Most texts have nothing but visible letters.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_control_sequence(&mut rest),
            '\n' | '\t' | '\u{2028}' | '\u{2029}' => shown.push(' '),
            c if c.is_control() || turns_direction(c) => {}
            c => shown.push(c),
        }
    }
    shown
}

/// At most this many bytes of the text, cut between characters, with a mark where something is missing.
#[must_use]
pub(crate) fn cut(mut text: String, most: usize) -> String {
    const MARK: &str = " … (cut)";
    if text.len() > most {
        let mut end = most.saturating_sub(MARK.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(MARK);
    }
    text
}

fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.next_if(|c| !c.is_control()) {
        Some('[') => skip_control_sequence(rest),
        // Operating system commands and the other strings end with BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = rest.next() {
                if c == '\u{7}' || c == '\u{9c}' {
                    break;
                }
                if c == '\u{1b}' {
                    rest.next_if_eq(&'\\');
                    break;
                }
            }
        }
        _ => {}
    }
}

fn skip_control_sequence(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while rest.next_if(|c| matches!(c, '\u{20}'..='\u{3f}')).is_some() {}
    rest.next_if(|c| matches!(c, '\u{40}'..='\u{7e}'));
}

const fn turns_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::{cut, plain};

    #[test]
    fn escape_sequences_and_direction_marks_go() {
        assert_eq!(plain("a\u{1b}[31mred\u{1b}[0m b"), "ared b");
        assert_eq!(plain("\u{1b}]0;title\u{7}text"), "text");
        assert_eq!(plain("\u{1b}]8;;http://evil\u{1b}\\link"), "link");
        assert_eq!(plain("one\ntwo\r\n\u{202e}three\u{0}"), "one two three");
        assert_eq!(plain("grün 日本"), "grün 日本");
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        assert_eq!(cut("short".to_owned(), 20), "short");
        let text = cut("ä".repeat(30), 21);
        assert!(text.len() <= 21 && text.ends_with("(cut)"), "{text}");
        assert_eq!(cut("äää".to_owned(), 3), " … (cut)");
    }
}
