//! Text on the page. Names, paths and command lines are chosen by whoever is judged, so all of it passes through one door.

use std::fmt;

use maud::Render;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// Characters of one text: longer ones are cut, and say so.
const CHARACTERS_MAX: usize = 400;

/// Bytes that one text takes in the file, escapes for HTML among them: with what stands around them the
/// thousand texts of a page whose lists are full stay below 2 MiB. Whatever is written plainly, or in letters of two bytes, is cut
/// by its characters first.
pub(super) const BYTES_MAX: usize = 800;

/// Marks upon one letter: writing needs up to three, and a pile of them covers the lines above and below.
const MARKS_MAX: usize = 4;

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
        let (mut bytes, mut marks, mut left) = (0, 0, text.chars().count());
        for character in text.chars().take(CHARACTERS_MAX) {
            marks = if is_mark(character) { marks + 1 } else { 0 };
            let plain = is_harmless(character) && marks <= MARKS_MAX;
            let written = if plain { character.to_string() } else { spelled_out(character) };
            bytes += written.chars().map(bytes_in_html).sum::<usize>();
            if bytes > BYTES_MAX {
                break;
            }
            out.push_str(&written);
            left -= 1;
        }
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

fn spelled_out(character: char) -> String {
    character.escape_default().to_string()
}

/// What a character takes once it is escaped for HTML.
const fn bytes_in_html(character: char) -> usize {
    match character {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        '"' => "&quot;".len(),
        other => other.len_utf8(),
    }
}

/// Whether a character is drawn upon the one before it, in whatever script.
fn is_mark(character: char) -> bool {
    character.general_category_group() == GeneralCategoryGroup::Mark
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
    }

    /// Bytes of a text in the file, and what follows one that was cut.
    fn bytes_of(text: &str) -> (usize, String) {
        let html = maud::html! { (Shown::of(text)) }.into_string();
        let end = html.rfind("… (and ").unwrap_or(html.len());
        (end, html[end..].to_owned())
    }

    #[test]
    fn a_text_ends_by_its_bytes_in_the_file_too() {
        for one in [
            "\u{202e}",
            "\u{e0041}",
            "&",
            "\"",
            "<",
            "'",
            "字",
            "\u{10ffff}",
            "\0",
            "\n",
            "a\u{301}\u{301}",
            "&\u{202e}é",
        ] {
            let (bytes, cut) = bytes_of(&one.repeat(100_000));
            assert!(bytes <= BYTES_MAX && bytes + cut.len() <= BYTES_MAX + 40, "{one:?}: {bytes}{cut}");
            assert!(
                !cut.is_empty() && bytes > BYTES_MAX / 2 - 16,
                "{one:?}: no more is cut than must be: {bytes}"
            );
        }
        assert_eq!(bytes_of(&"&".repeat(161)), (800, "… (and 1 more characters)".to_owned()));
        assert_eq!(bytes_of(&"&".repeat(160)), (800, String::new()));
        assert_eq!(
            bytes_of(&"é".repeat(400)),
            (800, String::new()),
            "what is written is cut by characters alone"
        );
    }

    #[test]
    fn marks_do_not_pile_up() {
        let four = "e\u{301}\u{302}\u{303}\u{304}";
        assert_eq!(Shown::of(four).as_str(), four);
        assert_eq!(
            Shown::of(format!("{four}\u{20dd}\u{301}x\u{301}")).as_str(),
            format!("{four}\\u{{20dd}}\\u{{301}}x\u{301}")
        );
        for hebrew_or_thai in ["בְּרֵאשִׁ֖ית", "ที่นี่", "नमस्ते"] {
            assert_eq!(Shown::of(hebrew_or_thai).as_str(), hebrew_or_thai);
        }
        // Marks of every script, and a text that begins with them.
        assert_eq!(
            Shown::of("\u{e31}".repeat(6)).as_str(),
            format!("{}\\u{{e31}}\\u{{e31}}", "\u{e31}".repeat(4))
        );
    }

    #[test]
    fn html_is_escaped_where_it_is_written() {
        let hostile = Shown::of("</code><script>alert(1)</script>\"' onload=x &amp;");
        let html = maud::html! { code title=(hostile) { (hostile) } }.into_string();
        assert!(!html.contains("<script") && !html.contains("</code><"), "{html}");
        assert!(!html.contains("\"'"), "{html}");
    }
}
