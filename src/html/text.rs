//! Text on the page. Names, paths and command lines are chosen by whoever is judged, so all of it passes through one door.

use std::fmt;

use maud::Render;

/// Characters of one text: longer ones are cut, and say so.
const CHARACTERS_MAX: usize = 400;

/// Characters from which a text without a space is no word.
const CODE_MIN: usize = 30;

/// Text that can be shown: no control character, nothing that reorders or hides what stands beside it, and an end.
/// The template escapes it for HTML.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Shown(String);

impl Shown {
    /// The one way in.
    pub(crate) fn of(text: impl fmt::Display) -> Self {
        let text = text.to_string();
        let mut out = String::new();
        let mut characters = text.chars();
        for character in characters.by_ref().take(CHARACTERS_MAX) {
            if is_harmless(character) { out.push(character) } else { out.extend(character.escape_default()) }
        }
        let left = characters.count();
        if left > 0 {
            out.push_str(&format!("… (and {left} more characters)"));
        }
        Self(out)
    }

    /// Whether it is a digest, a key id or the like, to be compared by its letters.
    pub(crate) fn is_code(&self) -> bool {
        self.0.len() >= CODE_MIN && !self.0.contains(' ')
    }

    /// The text, still to be escaped for HTML.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Render for Shown {
    fn render_to(&self, buffer: &mut String) {
        self.0.as_str().render_to(buffer);
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Not a control character, and none of those that have no width, begin a line, reorder text or tag it (Unicode TR 36 and 9).
fn is_harmless(character: char) -> bool {
    let invisible = matches!(character,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !character.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reorders_hides_or_controls_is_spelled_out() {
        assert_eq!(Shown::of("boot-1 é 字 שלום").as_str(), "boot-1 é 字 שלום");
        assert_eq!(Shown::of("a\u{202e}b\u{2066}c").as_str(), "a\\u{202e}b\\u{2066}c");
        assert_eq!(Shown::of("a\nb\u{1b}[2J\0").as_str(), "a\\nb\\u{1b}[2J\\u{0}");
        assert_eq!(Shown::of("a\u{200b}b\u{feff}\u{2028}").as_str(), "a\\u{200b}b\\u{feff}\\u{2028}");
        assert_eq!(Shown::of("\u{e0041}\u{61c}").as_str(), "\\u{e0041}\\u{61c}");
    }

    #[test]
    fn a_long_text_ends_and_says_so() {
        let shown = Shown::of("x".repeat(100_000));
        assert!(shown.as_str().ends_with("… (and 99600 more characters)"));
        assert!(shown.as_str().len() < CHARACTERS_MAX + 50);
        // Escapes are longer than what they escape; the bound is of what was given.
        assert!(Shown::of("\u{202e}".repeat(100_000)).as_str().len() < CHARACTERS_MAX * 12);
    }

    #[test]
    fn html_is_escaped_where_it_is_written() {
        let hostile = Shown::of("</code><script>alert(1)</script>\"' onload=x &amp;");
        let html = maud::html! { code title=(hostile) { (hostile) } }.into_string();
        assert!(!html.contains("<script") && !html.contains("</code><"), "{html}");
        assert!(!html.contains("\"'"), "{html}");
    }
}
