//! Splits a catalog file into its items, one JSON value each, whatever form the file has.
//!
//! | form | recognised by | item |
//! |---|---|---|
//! | NDJSON | anything that is not below | a line |
//! | array | `[` before anything else | an element, on one line or on many |
//! | wrapper | an object that leads to an array by known names, as the answers of APIs do | an element of that array |
//! | objects over several lines | a first line with `{` alone | an object |
//!
//! Memory is bounded by one item of [`MAX_ITEM`] bytes; a longer one is reported and passed over. Byte order marks are
//! passed over before a line and between elements.

use std::io::{self, BufRead, Read};

use super::shape::{BYTE_ORDER_MARK, HEAD, Shape, trimmed};

/// Maximum length of an item, in bytes.
pub const MAX_ITEM: usize = 1 << 20;

/// One JSON value of a file.
#[derive(Debug, Eq, PartialEq)]
pub struct Item<'a> {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// Its number in the file, from 1, if items are not lines.
    pub element: Option<u64>,
    pub content: Content<'a>,
}

impl<'a> Item<'a> {
    /// Its text, as far as it has one.
    pub fn text(&self) -> &'a [u8] {
        match self.content {
            Content::Text(text) | Content::LastLine(text) => text,
            Content::TooLong | Content::Cut => b"",
        }
    }
}

/// What a file has at the place of an item.
#[derive(Debug, Eq, PartialEq)]
pub enum Content<'a> {
    /// Text that should be a JSON value.
    Text(&'a [u8]),
    /// The last line, without a line feed: whole, or cut.
    LastLine(&'a [u8]),
    /// More than [`MAX_ITEM`] bytes.
    TooLong,
    /// The end of the file within an array or an element.
    Cut,
}

/// Reads items one after the other.
pub struct Items<R> {
    input: io::Chain<io::Cursor<Vec<u8>>, R>,
    /// The line of what is read next.
    line: u64,
    mode: Mode,
    text: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Mode {
    Lines,
    Values { place: Place, elements: u64 },
}

/// Where a reader of values stands between two of them.
#[derive(Clone, Copy)]
enum Place {
    /// Outside of every array.
    Top,
    /// In an array of values, inside of so many objects.
    Array { wrappers: usize },
    /// Behind the objects around an array, where nothing may follow.
    Behind,
}

impl<R: BufRead> Items<R> {
    /// Recognises the form of a file by its first bytes.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn new(mut input: R) -> io::Result<Self> {
        let mut head = Vec::new();
        input.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        let (place, skip) = match Shape::of(&head) {
            Shape::Lines => (None, 0),
            Shape::Values { wrappers: 0, .. } => (Some(Place::Top), 0),
            Shape::Values { wrappers, start } => (Some(Place::Array { wrappers }), start),
        };
        let mode = place.map_or(Mode::Lines, |place| Mode::Values { place, elements: 0 });
        let line = 1 + line_feeds(&head[..skip]);
        let mut head = io::Cursor::new(head);
        head.set_position(skip as u64);
        Ok(Self { input: head.chain(input), line, mode, text: Vec::new() })
    }

    /// Counts lines from this one.
    pub fn from_line(mut self, first: u64) -> Self {
        self.line += first - 1;
        self
    }

    /// The next item that is not blank, or `None` at the end.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read(&mut self) -> io::Result<Option<Item<'_>>> {
        match self.mode {
            Mode::Lines => self.next_line(),
            Mode::Values { place, elements } => self.next_value(place, elements + 1),
        }
    }

    fn next_line(&mut self) -> io::Result<Option<Item<'_>>> {
        loop {
            self.text.clear();
            if self.input.by_ref().take(MAX_ITEM as u64).read_until(b'\n', &mut self.text)? == 0 {
                return Ok(None);
            }
            let line = self.line;
            self.line += 1;
            let is_whole = self.text.last() == Some(&b'\n');
            if !is_whole && self.text.len() == MAX_ITEM {
                self.input.skip_until(b'\n')?;
                return Ok(Some(Item { line, element: None, content: Content::TooLong }));
            }
            if !trimmed(&self.text).is_empty() {
                let text = trimmed(&self.text);
                let content = if is_whole { Content::Text(text) } else { Content::LastLine(text) };
                return Ok(Some(Item { line, element: None, content }));
            }
        }
    }

    fn next_value(&mut self, place: Place, number: u64) -> io::Result<Option<Item<'_>>> {
        let element = Some(number);
        let (place, is_value) = self.skip_to_value(place)?;
        self.mode = Mode::Values { place, elements: number };
        let line = self.line;
        if is_value && matches!(place, Place::Behind) {
            let reason =
                "another value follows the answer of an API; write the links of all into one array, or one a line";
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("line {line}: {reason}")));
        }
        if !is_value {
            // Whatever is read after the end is the end again.
            self.mode = Mode::Values { place: Place::Top, elements: number };
            let is_cut = matches!(place, Place::Array { .. });
            return Ok(is_cut.then_some(Item { line, element, content: Content::Cut }));
        }
        self.text.clear();
        let (mut nesting, mut length) = (Nesting::new(), 0);
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                if nesting.is_open() {
                    self.mode = Mode::Values { place: Place::Top, elements: number };
                    return Ok(Some(Item { line, element, content: Content::Cut }));
                }
                break;
            }
            let (used, is_end) = nesting.advance(chunk);
            length += used;
            self.text.extend_from_slice(&chunk[..used.min(MAX_ITEM - self.text.len())]);
            self.line += line_feeds(&chunk[..used]);
            self.input.consume(used);
            if is_end {
                break;
            }
        }
        let content = if length > MAX_ITEM { Content::TooLong } else { Content::Text(&self.text) };
        Ok(Some(Item { line, element, content }))
    }

    /// Goes on to the next value. Where that stands, and whether there is one.
    fn skip_to_value(&mut self, mut place: Place) -> io::Result<(Place, bool)> {
        loop {
            let Some(&byte) = self.input.fill_buf()?.first() else { return Ok((place, false)) };
            let next = match (place, byte) {
                (Place::Top, b'[') => Place::Array { wrappers: 0 },
                (Place::Array { .. }, b']') => Place::Top,
                (Place::Array { .. }, b',') => place,
                (_, byte) if byte.is_ascii_whitespace() || BYTE_ORDER_MARK.contains(&byte) => place,
                _ => return Ok((place, true)),
            };
            self.input.consume(1);
            self.line += u64::from(byte == b'\n');
            if let (Place::Array { wrappers: 1.. }, Place::Top) = (place, next) {
                if !self.skip_objects(place)? {
                    return Ok((place, false));
                }
                place = Place::Behind;
            } else {
                place = next;
            }
        }
    }

    /// Passes over the rest of the objects around an array. Whether they end.
    fn skip_objects(&mut self, place: Place) -> io::Result<bool> {
        let Place::Array { wrappers: depth } = place else { return Ok(true) };
        let mut nesting = Nesting { depth, state: State::Nested };
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let (used, is_end) = nesting.advance(chunk);
            self.line += line_feeds(&chunk[..used]);
            self.input.consume(used);
            if is_end {
                return Ok(true);
            }
        }
    }
}

/// Finds the end of a JSON value. What lies between brackets is not checked: that is the parser's part.
struct Nesting {
    depth: usize,
    state: State,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    Start,
    /// In a number or a word, or in what should be one.
    Scalar,
    /// Between brackets.
    Nested,
    String,
    /// Behind a backslash in a string.
    Escape,
}

impl Nesting {
    fn new() -> Self {
        Self { depth: 0, state: State::Start }
    }

    /// How many bytes belong to the value, and whether it ends with them.
    fn advance(&mut self, chunk: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            match self.state {
                State::Scalar if byte.is_ascii_whitespace() || b",]}".contains(&byte) => return (at, true),
                State::Scalar => at += 1,
                State::Escape => {
                    self.state = State::String;
                    at += 1;
                }
                State::String => match memchr::memchr2(b'"', b'\\', &chunk[at..]) {
                    None => return (chunk.len(), false),
                    Some(length) => {
                        at += length + 1;
                        if chunk[at - 1] == b'\\' {
                            self.state = State::Escape;
                        } else if self.depth == 0 {
                            return (at, true);
                        } else {
                            self.state = State::Nested;
                        }
                    }
                },
                State::Start | State::Nested => {
                    at += 1;
                    match byte {
                        b'"' => self.state = State::String,
                        b'{' | b'[' => {
                            self.depth += 1;
                            self.state = State::Nested;
                        }
                        _ if self.state == State::Start => self.state = State::Scalar,
                        b'}' | b']' => {
                            self.depth -= 1;
                            if self.depth == 0 {
                                return (at, true);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        (at, false)
    }

    fn is_open(&self) -> bool {
        self.state != State::Scalar
    }
}

fn line_feeds(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The items of a file, each with its line and its number.
    fn items(bytes: &[u8]) -> Vec<(u64, Option<u64>, String)> {
        items_of(bytes)
    }

    fn items_of(input: impl BufRead) -> Vec<(u64, Option<u64>, String)> {
        let mut items = Items::new(input).unwrap();
        let mut all = Vec::new();
        loop {
            let Item { line, element, content } = match items.read() {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(error) => {
                    all.push((0, None, error.to_string()));
                    return all;
                }
            };
            let content = match content {
                Content::Text(text) => String::from_utf8_lossy(text).into_owned(),
                Content::LastLine(text) => format!("last {}", String::from_utf8_lossy(text)),
                other => format!("{other:?}"),
            };
            all.push((line, element, content));
        }
        assert!(items.read().unwrap().is_none(), "the end stays the end");
        all
    }

    fn texts(bytes: &str) -> Vec<String> {
        items(bytes.as_bytes()).into_iter().map(|(_, _, text)| text).collect()
    }

    #[test]
    fn lines_are_items_and_byte_order_marks_are_passed_over() {
        let found = items("\u{feff}{\"a\":1}\r\n\n \u{feff}\u{feff}{\"b\":2} \n\u{feff}\n{\"c\":3}".as_bytes());
        let expected = [(1, "{\"a\":1}"), (3, "{\"b\":2}"), (5, "last {\"c\":3}")];
        assert_eq!(found, expected.map(|(line, text)| (line, None, text.to_owned())));
    }

    #[test]
    fn elements_of_arrays_are_items() {
        let pretty = "\u{feff}[\n  {\n    \"a\": \"]},\\\"\"\n  },\n  {\"b\": [{}, []]}, 7 , null,\"x,\"\n]\n";
        let found = items(pretty.as_bytes());
        let expected =
            [(2, "{\n    \"a\": \"]},\\\"\"\n  }"), (5, "{\"b\": [{}, []]}"), (5, "7"), (5, "null"), (5, "\"x,\"")];
        let numbered =
            expected.iter().zip(1..).map(|((line, text), number)| (*line, Some(number), (*text).to_owned()));
        assert_eq!(found, numbered.collect::<Vec<_>>());
        assert_eq!(texts("[]"), [""; 0]);
        assert_eq!(texts("[1][2]\n[3]"), ["1", "2", "3"]);
        assert_eq!(texts("[1] x"), ["1", "x"]);
        assert_eq!(texts("[1]]"), ["1", "]"]);
        assert_eq!(texts("[}x,{\"a\":},1]"), ["}x", "{\"a\":}", "1"]);
    }

    #[test]
    fn what_stands_around_an_array_is_passed_over() {
        assert_eq!(texts("{\"total\":1,\"links\":[{\"a\":1}],\"next\":\"]}\"}"), ["{\"a\":1}"]);
        assert_eq!(texts("{\"shortUrls\":{\"data\":[1,2],\"pagination\":{\"x\":[]}}}\n"), ["1", "2"]);
        assert_eq!(items(b"{\n\"data\":[\n1]}")[0].0, 3);
    }

    #[test]
    fn objects_over_several_lines_are_items() {
        assert_eq!(texts("{\n \"a\": 1\n}\n{\n \"b\": 2\n}"), ["{\n \"a\": 1\n}", "{\n \"b\": 2\n}"]);
    }

    #[test]
    fn a_file_that_ends_within_an_array_is_cut() {
        let whole = "{\"links\":[{\"a\":\"x\\\\y\"}, 1]}";
        for end in 0..whole.len() {
            let found = texts(&whole[..end]);
            if end > 9 {
                assert_eq!(found.last().unwrap(), "Cut", "{end}: {found:?}");
            }
        }
        assert_eq!(texts(whole).len(), 2);
        assert_eq!(texts("["), ["Cut"]);
        assert_eq!(texts("[1"), ["1", "Cut"]);
        assert_eq!(items(b"[\n1,\n").last().unwrap(), &(3, Some(2), "Cut".to_owned()));
        assert_eq!(texts("{\n\"a\":"), ["Cut"]);
    }

    #[test]
    fn an_item_that_is_too_long_is_passed_over() {
        let long = "x".repeat(MAX_ITEM);
        assert_eq!(texts(&format!("[\"{long}\",2]")), ["TooLong", "2"]);
        assert_eq!(texts(&format!("{long}y\n2\n")), ["TooLong", "2"]);
        assert_eq!(texts(&format!("[{}]", "x".repeat(MAX_ITEM))), [long]);
    }

    /// A reader that gives a few bytes at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len()).min(self.0.len());
            let (now, later) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    proptest! {
        #[test]
        fn the_size_of_reads_makes_no_difference(
            text in "[\\[\\]{}\",:a1 \\\\\n]{0,80}",
            size in 1_usize..9,
        ) {
            for text in [text.clone(), format!("[{text}"), format!("{{\"data\":[{text}")] {
                let pieces = io::BufReader::with_capacity(size, Pieces(text.as_bytes(), size));
                prop_assert_eq!(items_of(pieces), items(text.as_bytes()));
            }
        }
    }
}
