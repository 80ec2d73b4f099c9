//! A page as the parser of the HTML standard reads it, for tests.

use html5gum::{DefaultEmitter, Token, Tokenizer};

/// The start tags of a page in their order, and the text after each.
#[derive(Debug, Default)]
pub struct Html {
    pub tags: Vec<Tag>,
    pub comments: usize,
}

#[derive(Debug, Default)]
pub struct Tag {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    /// The text up to the next start or end tag.
    pub text: String,
    is_closed: bool,
}

impl Html {
    /// A page without comments.
    pub fn read(body: &[u8]) -> Self {
        let html = Self::read_all(body);
        assert_eq!(html.comments, 0, "comments");
        html
    }

    pub fn read_all(body: &[u8]) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let mut html = Self::default();
        let mut emitter = DefaultEmitter::default();
        emitter.naively_switch_states(true);
        for token in Tokenizer::new_with_emitter(std::str::from_utf8(body).expect("UTF-8"), emitter) {
            match token.expect("a token") {
                Token::StartTag(tag) => html.tags.push(Tag {
                    name: text(&tag.name),
                    attributes: tag.attributes.iter().map(|(name, value)| (text(name), text(&value.value))).collect(),
                    ..Tag::default()
                }),
                Token::String(string) => {
                    if let Some(tag) = html.tags.last_mut().filter(|tag| !tag.is_closed) {
                        tag.text.push_str(&text(&string));
                    }
                }
                Token::EndTag(_) => {
                    if let Some(tag) = html.tags.last_mut() {
                        tag.is_closed = true;
                    }
                }
                Token::Comment(_) => html.comments += 1,
                Token::Doctype(_) | Token::Error(_) => {}
            }
        }
        html
    }

    pub fn names(&self) -> Vec<&str> {
        self.tags.iter().map(|tag| tag.name.as_str()).collect()
    }

    /// The values of an attribute, of each element of this name that has it.
    pub fn all(&self, element: &str, attribute: &str) -> Vec<String> {
        self.tags.iter().filter(|tag| tag.name == element).filter_map(|tag| tag.get(attribute)).collect()
    }

    pub fn texts(&self, element: &str) -> Vec<&str> {
        self.tags.iter().filter(|tag| tag.name == element).map(|tag| tag.text.as_str()).collect()
    }

    /// The content of the meta element of this name.
    pub fn content(&self, name: &str) -> String {
        let is_it = |tag: &&Tag| {
            ["name", "property", "http-equiv"].iter().any(|attribute| tag.get(attribute).as_deref() == Some(name))
        };
        self.tags.iter().find(is_it).and_then(|tag| tag.get("content")).expect("a meta element")
    }
}

impl Tag {
    pub fn get(&self, attribute: &str) -> Option<String> {
        self.attributes.iter().find(|(name, _)| name == attribute).map(|(_, value)| value.clone())
    }
}
