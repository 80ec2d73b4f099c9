//! Text inside HTML: what the parser reads is what was given.

use std::borrow::Cow;

/// Appends text that is safe in an element and in a quoted attribute. A carriage return is kept as a reference, because
/// the parser makes a line feed of it; NUL cannot be written in HTML.
pub fn push(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'', '\r', '\0']) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            b'\r' => "&#13;",
            _ => "\u{fffd}",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// Text that people read: at most `most` bytes of it, without what changes the direction of the text around it.
pub fn readable(text: &str, most: usize) -> Cow<'_, str> {
    let is_shown = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.len() <= most && text.chars().all(is_shown) {
        return Cow::Borrowed(text);
    }
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut shown: String = text[..end].chars().map(|c| if is_shown(c) { c } else { '\u{fffd}' }).collect();
    if end < text.len() {
        shown.push('…');
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_html_is_written_as_a_reference() {
        let mut out = String::new();
        push(&mut out, "a<b>&\"'\r\0é{{path}}");
        assert_eq!(out, "a&lt;b&gt;&amp;&quot;&#39;&#13;\u{fffd}é{{path}}");
    }

    #[test]
    fn text_for_people_is_short_and_does_not_turn_its_direction() {
        assert!(matches!(readable("/é", 10), Cow::Borrowed("/é")));
        assert_eq!(readable("abé", 3), "ab…");
        assert_eq!(readable("a\u{202e}b\n", 10), "a\u{fffd}b\u{fffd}");
    }
}
