//! Recognises the form of a catalog file by its first bytes.

/// How many bytes are looked at.
pub const HEAD: usize = 4096;

/// U+FEFF in UTF-8, which some programs write before a text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Members by which the answers and exports of link services lead to their array of links.
const WRAPPERS: [&str; 10] =
    ["links", "data", "items", "results", "records", "urls", "short_urls", "shortUrls", "bitlinks", "domains"];

/// Members that an object has if it is a link itself.
const LINK: [&str; 3] = ["id", "slashtag", "destination"];

/// Where the values of a file are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// One a line.
    Lines,
    /// In arrays, or one after the other over several lines. The first array begins behind `start` bytes, inside of
    /// so many objects; without any, `start` is 0.
    Values { wrappers: usize, start: usize },
}

impl Shape {
    /// The form of a file that begins so.
    pub fn of(head: &[u8]) -> Self {
        let mut cursor = Cursor { bytes: head, at: 0 };
        match cursor.next_token() {
            Some(b'[') => Self::Values { wrappers: 0, start: 0 },
            Some(b'{') => match cursor.wrapped_array(1) {
                Some(wrappers) => Self::Values { wrappers, start: cursor.at },
                None if starts_with_a_lone_brace(head) => Self::Values { wrappers: 0, start: 0 },
                None => Self::Lines,
            },
            _ => Self::Lines,
        }
    }
}

/// Whether an object begins over several lines. A lone `{` before other lines is a bad line.
fn starts_with_a_lone_brace(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n').map(trimmed).filter(|line| !line.is_empty());
    lines.next() == Some(b"{") && lines.next().is_some_and(|line| line.starts_with(b"\""))
}

/// A line without white space and byte order marks around it.
pub fn trimmed(line: &[u8]) -> &[u8] {
    let mut text = line.trim_ascii();
    while let Some(rest) = text.strip_prefix(BYTE_ORDER_MARK) {
        text = rest.trim_ascii_start();
    }
    text
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Goes on from inside an object to the array that it leads to, behind whose `[` the cursor then is. The number of
    /// objects around the array.
    fn wrapped_array(&mut self, depth: usize) -> Option<usize> {
        loop {
            (self.next_token()? == b'"').then_some(())?;
            let name = self.string()?;
            if LINK.iter().any(|member| member.as_bytes() == name) {
                return None;
            }
            let is_wrapper = WRAPPERS.iter().any(|member| member.as_bytes() == name);
            (self.next_token()? == b':').then_some(())?;
            match self.next_token()? {
                b'[' if is_wrapper => return Some(depth),
                b'{' if is_wrapper && depth < 3 => return self.wrapped_array(depth + 1),
                b'[' | b'{' => return None,
                b'"' => _ = self.string()?,
                _ => self.scalar(),
            }
            (self.next_token()? == b',').then_some(())?;
        }
    }

    fn next_token(&mut self) -> Option<u8> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            let skipped = if rest.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 1 };
            self.at += skipped;
            if skipped == 1 && !rest.first()?.is_ascii_whitespace() {
                return rest.first().copied();
            }
        }
    }

    /// The rest of a string, whose quote was taken.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(&self.bytes[start..self.at - 1])
    }

    /// The rest of a number, or of a word.
    fn scalar(&mut self) {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
        self.at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(wrappers: usize, start: usize) -> Shape {
        Shape::Values { wrappers, start }
    }

    #[test]
    fn arrays_and_wrappers_are_recognised() {
        for head in ["[", " \n[{\"a\":1}]", "\u{feff}[", "{\n \"id\": 1\n}", "\u{feff}\r\n{\r\n\"a\":"] {
            assert_eq!(Shape::of(head.as_bytes()), values(0, 0), "{head:?}");
        }
        for (head, wrappers) in [
            (r#"{"links":["#, 1),
            (r#"{ "total" : 2, "next":null, "x":"a\"]{", "data" : ["#, 1),
            ("{\"shortUrls\":\n{\"data\":[", 2),
            ("\u{feff}{\n  \"urls\": [", 1),
        ] {
            assert_eq!(Shape::of(head.as_bytes()), values(wrappers, head.len()), "{head:?}");
        }
        for head in [
            "",
            "\n\n",
            "{",
            "{\n{\"id\":1}\n",
            "{\"links\":",
            r#"{"id":"x","links":[]}"#,
            r#"{"tags":[],"links":[]}"#,
            r#"{"links":{"tags":["#,
            r#"{"a" 1, "links":["#,
            "id,slashtag\n[",
            "{\"x\":\"\\",
            "{\"x\":",
            "{\"x\":1",
        ] {
            assert_eq!(Shape::of(head.as_bytes()), Shape::Lines, "{head:?}");
        }
    }
}
