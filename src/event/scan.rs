//! Scans the canonical JSON of our own events: without white space, in one pass, without a tree. Any bytes are scanned
//! or not (`None`), without panic.

/// Reads JSON without white space.
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Passes over the byte that was peeked at.
    pub fn pass(&mut self) {
        self.at += 1;
    }

    /// The values of two members, of each object of a list, as they stand. Other members are passed over.
    pub fn pairs(&mut self, first: &[u8], second: &[u8]) -> Option<Vec<(&'a [u8], &'a [u8])>> {
        let mut pairs = Vec::new();
        self.expect(b'[')?;
        while self.peek()? != b']' {
            self.expect(b'{')?;
            let mut pair: (&[u8], &[u8]) = (b"\"\"", b"\"\"");
            while self.peek()? != b'}' {
                let key = self.string()?;
                self.expect(b':')?;
                let value = if self.peek()? == b'"' { self.string()? } else { self.value().map(|_| &b"\"\""[..])? };
                if key == first {
                    pair.0 = value;
                } else if key == second {
                    pair.1 = value;
                }
                self.comma(b'}')?;
            }
            self.at += 1;
            pairs.push(pair);
            self.comma(b']')?;
        }
        self.at += 1;
        Some(pairs)
    }

    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Passes over a comma that another element follows; none may precede `end`.
    pub fn comma(&mut self, end: u8) -> Option<()> {
        match self.peek()? {
            b',' if self.text.get(self.at + 1).is_some_and(|next| *next != end) => {
                self.at += 1;
                Some(())
            }
            byte => (byte == end).then_some(()),
        }
    }

    /// A string, with its quotes.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.text.get(self.at..)?)? + 1;
            if self.text[self.at - 1] == b'"' {
                return self.text.get(start..self.at);
            }
            // The escaped character.
            self.at += 1;
        }
    }

    /// Any value, as it stands.
    pub fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => _ = self.string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' if depth == 0 => break,
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            if depth == 0 && matches!(self.peek()?, b',' | b'}' | b']') {
                break;
            }
        }
        self.text.get(start..self.at).filter(|value| !value.is_empty())
    }
}
