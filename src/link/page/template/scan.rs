//! Finds the placeholders of a template, and the place of each in the HTML.
//!
//! One pass over the bytes in the steps of the tokenizer of the HTML standard (13.2.5), as far as they decide where
//! text ends and where an attribute does.

use std::ops::Range;

use super::MAX_PLACEHOLDERS;

/// Elements whose content is text without elements, in which references count.
const TEXT_ONLY: [&str; 2] = ["title", "textarea"];

/// Elements whose content is not text that is shown, and in which nothing can be escaped.
const RAW: [&str; 7] = ["style", "xmp", "iframe", "noembed", "noframes", "noscript", "script"];

/// Elements whose content follows other rules, in which placeholders do not stand.
const FOREIGN: [&str; 2] = ["svg", "math"];

/// Attributes whose value is text for people.
const TEXT_ATTRIBUTES: [&str; 5] = ["alt", "title", "placeholder", "value", "label"];

const NAMES: &str = "write {{path}}, {{domain}}, {{title}} or {{form}}, or `&#123;{` for two braces";

/// A part of a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// This range of it, as it is.
    Literal(Range<usize>),
    Placeholder {
        name: Name,
        place: Place,
    },
}

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Name {
    Path,
    Domain,
    Title,
    Form,
}

/// Where a placeholder may stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// Between elements.
    Text,
    /// In a title or a text area.
    TextOnly,
    /// In a quoted attribute.
    Attribute,
}

/// Why a template cannot be taken.
#[derive(Debug)]
pub struct Problem<'a> {
    pub value: &'a str,
    pub remedy: String,
}

/// The pieces of a template.
///
/// # Errors
/// When a placeholder is unknown or in a place where it cannot be escaped, when there are too many, or when there is a
/// script.
pub fn pieces(html: &str) -> Result<Vec<Piece>, Problem<'_>> {
    let mut scan = Scan { html, at: 0, literal: 0, pieces: Vec::new(), foreign: None };
    scan.text()?;
    scan.literal_to(html.len());
    Ok(scan.pieces)
}

struct Scan<'a> {
    html: &'a str,
    at: usize,
    /// Start of the literal that is not among the pieces yet.
    literal: usize,
    pieces: Vec<Piece>,
    /// The element of another language that the text is in: `svg` or `math`.
    foreign: Option<&'static str>,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.html.as_bytes()[self.at..]
    }

    fn text(&mut self) -> Result<(), Problem<'a>> {
        while let Some(&byte) = self.rest().first() {
            match byte {
                b'<' => self.markup()?,
                b'{' if self.is_placeholder() => match self.foreign {
                    None => self.placeholder(Place::Text)?,
                    Some(element) => return Err(self.misplaced(&format!("inside <{element}>"))),
                },
                _ => self.at += 1,
            }
        }
        Ok(())
    }

    /// From a `<`.
    fn markup(&mut self) -> Result<(), Problem<'a>> {
        let rest = self.rest();
        match rest {
            [b'<', b'!', b'-', b'-', after @ ..] => {
                let end = match after {
                    [b'>', ..] => 5,
                    [b'-', b'>', ..] => 6,
                    _ => 4 + comment_length(after),
                };
                self.skip(end, "inside a comment")
            }
            [b'<', b'/', b'>', ..] => self.skip(3, ""),
            [b'<', b'/', letter, ..] if letter.is_ascii_alphabetic() => {
                self.at += 2;
                self.tag(false)
            }
            [b'<', letter, ..] if letter.is_ascii_alphabetic() => {
                self.at += 1;
                self.tag(true)
            }
            [b'<', b'!' | b'?' | b'/', ..] => {
                let end = memchr::memchr(b'>', rest).map_or(rest.len(), |at| at + 1);
                self.skip(end, "inside a declaration")
            }
            _ => self.skip(1, ""),
        }
    }

    /// From the name of a tag to what follows it.
    fn tag(&mut self, is_start: bool) -> Result<(), Problem<'a>> {
        let from = self.at;
        let name = self.until(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'));
        self.no_placeholder(from, "in the name of an element")?;
        let is = |other: &&&str| name.eq_ignore_ascii_case(other);
        if is_start && is(&&"script") {
            return Err(Problem {
                value: &self.html[from - 1..self.at],
                remedy: "scripts do not run on this page: remove the element".into(),
            });
        }
        self.attributes(name)?;
        match (FOREIGN.iter().find(is), self.foreign) {
            (Some(element), None) if is_start => self.foreign = Some(element),
            (Some(element), Some(open)) if !is_start && open == *element => self.foreign = None,
            _ => {}
        }
        if !is_start || self.foreign.is_some() {
            return Ok(());
        }
        if let Some(element) = TEXT_ONLY.iter().find(is) {
            self.content(element, true)
        } else if let Some(element) = RAW.iter().find(is) {
            self.content(element, false)
        } else if is(&&"plaintext") {
            self.skip(self.rest().len(), "after <plaintext>")
        } else {
            Ok(())
        }
    }

    /// The attributes of a tag, and its `>`.
    fn attributes(&mut self, element: &str) -> Result<(), Problem<'a>> {
        loop {
            self.until(|byte| !byte.is_ascii_whitespace() && byte != b'/');
            match self.rest().first() {
                None => return Ok(()),
                Some(b'>') => {
                    self.at += 1;
                    return Ok(());
                }
                // The first sign of a name can be `=`.
                Some(_) => {}
            }
            let from = self.at;
            self.at += 1;
            self.until_in_name();
            let name = &self.html[from..self.at];
            self.no_placeholder(from, &format!("in <{element}>, outside the value of an attribute"))?;
            let before = self.at;
            self.until(|byte| !byte.is_ascii_whitespace());
            if self.rest().first() != Some(&b'=') {
                self.at = before;
                continue;
            }
            self.at += 1;
            self.until(|byte| !byte.is_ascii_whitespace());
            match self.rest().first() {
                Some(&quote @ (b'"' | b'\'')) => self.quoted(quote, name)?,
                Some(b'>') | None => {}
                Some(_) => {
                    let from = self.at;
                    self.until(|byte| byte.is_ascii_whitespace() || byte == b'>');
                    self.no_placeholder(
                        from,
                        &format!("in the attribute `{name}`, which has no quotes: write quotes"),
                    )?;
                }
            }
        }
    }

    fn until_in_name(&mut self) {
        // A multi-byte sign ends at its boundary: only ASCII ends a name.
        self.until(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>' | b'='));
    }

    /// From the opening quote of a value to after the closing one.
    fn quoted(&mut self, quote: u8, name: &str) -> Result<(), Problem<'a>> {
        self.at += 1;
        let is_text = TEXT_ATTRIBUTES.iter().any(|text| name.eq_ignore_ascii_case(text))
            || name
                .get(..5)
                .is_some_and(|start| ["aria-", "data-"].iter().any(|kind| start.eq_ignore_ascii_case(kind)));
        while let Some(&byte) = self.rest().first() {
            if byte == quote {
                self.at += 1;
                return Ok(());
            }
            if byte != b'{' || !self.is_placeholder() {
                self.at += 1;
            } else if let (true, None) = (is_text, self.foreign) {
                self.placeholder(Place::Attribute)?;
            } else {
                let place = format!(
                    "in the attribute `{name}`, only in alt, title, value, label, placeholder, aria-*, data-*"
                );
                return Err(self.misplaced(&place));
            }
        }
        Ok(())
    }

    /// The content of an element without elements, up to its end tag, which [`Scan::text`] reads.
    fn content(&mut self, element: &str, has_text: bool) -> Result<(), Problem<'a>> {
        while let Some(&byte) = self.rest().first() {
            if byte == b'<' && self.is_end_of(element) {
                return Ok(());
            }
            if byte != b'{' || !self.is_placeholder() {
                self.at += 1;
            } else if has_text {
                self.placeholder(Place::TextOnly)?;
            } else {
                return Err(self.misplaced(&format!("inside <{element}>")));
            }
        }
        Ok(())
    }

    fn is_end_of(&self, element: &str) -> bool {
        let Some(tag) = self.rest().strip_prefix(b"</") else { return false };
        tag.get(..element.len()).is_some_and(|name| name.eq_ignore_ascii_case(element.as_bytes()))
            && tag.get(element.len()).is_some_and(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'))
    }

    fn is_placeholder(&self) -> bool {
        self.rest().starts_with(b"{{")
    }

    fn placeholder(&mut self, place: Place) -> Result<(), Problem<'a>> {
        if self.is_after_tag_open() {
            return Err(self.misplaced("right after `<`"));
        }
        let whole = self.quotation();
        let name = match whole.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).map(str::trim) {
            Some("path") => Name::Path,
            Some("domain") => Name::Domain,
            Some("title") => Name::Title,
            Some("form") => Name::Form,
            _ => return Err(Problem { value: whole, remedy: format!("unknown placeholder: {NAMES}") }),
        };
        self.literal_to(self.at);
        self.at += whole.len();
        self.literal = self.at;
        self.pieces.push(Piece::Placeholder { name, place });
        let number = self.pieces.iter().filter(|piece| matches!(piece, Piece::Placeholder { .. })).count();
        if number > MAX_PLACEHOLDERS {
            let remedy = format!("more than {MAX_PLACEHOLDERS} placeholders: remove some");
            return Err(Problem { value: whole, remedy });
        }
        Ok(())
    }

    /// Whether a value could make a tag of what is before it: `<`, or in a title `</tit`.
    fn is_after_tag_open(&self) -> bool {
        let before = self.html[..self.at].trim_end_matches(|c: char| c.is_ascii_alphabetic());
        before.strip_suffix('/').unwrap_or(before).ends_with('<')
    }

    /// The placeholder from here, with its braces, as far as it is one.
    fn quotation(&self) -> &'a str {
        let rest = &self.html[self.at..];
        match rest.find("}}") {
            Some(end) => &rest[..end + 2],
            None => rest,
        }
    }

    fn misplaced(&self, place: &str) -> Problem<'a> {
        let remedy = format!("a placeholder {place} cannot be escaped: move it into the text of the page");
        Problem { value: self.quotation(), remedy }
    }

    /// Steps over `length` bytes in which no placeholder may stand.
    fn skip(&mut self, length: usize, place: &str) -> Result<(), Problem<'a>> {
        let from = self.at;
        self.at = (from + length).min(self.html.len());
        self.no_placeholder(from, place)
    }

    fn no_placeholder(&mut self, from: usize, place: &str) -> Result<(), Problem<'a>> {
        match self.html.as_bytes()[from..self.at].windows(2).position(|two| two == b"{{") {
            None => Ok(()),
            Some(at) => {
                self.at = from + at;
                Err(self.misplaced(place))
            }
        }
    }

    /// Steps to the first byte that is one of the end, and returns what is before it.
    fn until(&mut self, is_end: impl Fn(u8) -> bool) -> &'a str {
        let length = self.rest().iter().position(|&byte| is_end(byte)).unwrap_or(self.rest().len());
        let from = self.at;
        self.at += length;
        self.html.get(from..self.at).unwrap_or_default()
    }

    fn literal_to(&mut self, end: usize) {
        if self.literal < end {
            self.pieces.push(Piece::Literal(self.literal..end));
        }
    }
}

/// Length of the rest of a comment, with its end.
fn comment_length(rest: &[u8]) -> usize {
    let end = |mark: &[u8]| memchr::memmem::find(rest, mark).map(|at| at + mark.len());
    [end(b"-->"), end(b"--!>")].into_iter().flatten().min().unwrap_or(rest.len())
}
