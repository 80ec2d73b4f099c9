//! Structured fields (RFC 9651), as far as client hints use them: a string, and a list of strings with parameters.
//!
//! Total and in one pass. `None` means that a field is malformed or too long: the caller ignores it as a whole.

use super::MAX_HINT_BYTES;

/// The one string of a field; parameters are skipped.
pub fn string(field: &[u8]) -> Option<&str> {
    let mut found = None;
    let mut count = 0;
    list(field, |string, _| {
        found = Some(string);
        count += 1;
    })?;
    found.filter(|_| count == 1)
}

/// Calls `each` with every string of a list and its parameter `v`. On `None`, the calls so far do not count.
pub fn list<'a>(field: &'a [u8], mut each: impl FnMut(&'a str, Option<&'a str>)) -> Option<()> {
    let field = Some(field).filter(|field| field.len() <= MAX_HINT_BYTES)?;
    let mut rest = Rest(std::str::from_utf8(field).ok().filter(|text| text.is_ascii())?);
    rest.skip(' ');
    loop {
        let string = rest.quoted()?;
        let mut version = None;
        while rest.take(';') {
            rest.skip(' ');
            let name =
                rest.run(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte))?;
            let value = if rest.take('=') { rest.bare()? } else { "" };
            version = if name == "v" { Some(value) } else { version };
        }
        each(string, version);
        rest.skip_blanks();
        if rest.0.is_empty() {
            return Some(());
        }
        if !rest.take(',') {
            return None;
        }
        rest.skip_blanks();
    }
}

/// The name of an Android package: words of letters, digits and `_`, with dots between them. Not `XMLHttpRequest`.
pub fn package(field: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(field).ok().filter(|name| name.len() <= MAX_HINT_BYTES)?;
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    (name.contains('.') && name.split('.').all(is_word)).then_some(name)
}

/// What is left to read, all of it ASCII.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn take(&mut self, sign: char) -> bool {
        self.0.strip_prefix(sign).inspect(|rest| self.0 = rest).is_some()
    }

    fn skip(&mut self, sign: char) {
        self.0 = self.0.trim_start_matches(sign);
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn cut(&mut self, length: usize) -> Option<&'a str> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> Option<&'a str> {
        let length = self.0.bytes().take_while(|&byte| belongs(byte)).count();
        self.cut(length).filter(|run| !run.is_empty())
    }

    /// A string, its escapes unchanged: no known name has any.
    fn quoted(&mut self) -> Option<&'a str> {
        let inner = self.0.strip_prefix('"')?;
        let mut escaped = false;
        for (at, byte) in inner.bytes().enumerate() {
            match byte {
                b'"' | b'\\' if escaped => escaped = false,
                _ if escaped => return None,
                b'"' => {
                    self.0 = inner.get(at + 1..)?;
                    return inner.get(..at);
                }
                b'\\' => escaped = true,
                b' '..=b'~' => {}
                _ => return None,
            }
        }
        None
    }

    /// A string, a token, a number or a boolean.
    fn bare(&mut self) -> Option<&'a str> {
        if self.0.starts_with('"') {
            return self.quoted();
        }
        self.run(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/?".contains(&byte))
    }
}
