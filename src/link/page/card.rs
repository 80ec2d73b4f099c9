//! The card of a link: what social networks show for it, instead of what they find at its destination.

use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;
use url::Url;

use super::{Invalid, NO_REFERRER, Page, escape, is_destination};

/// Longest title, in bytes.
pub const MAX_TITLE: usize = 512;

/// Longest description, in bytes.
pub const MAX_DESCRIPTION: usize = 2048;

/// Longest address of an image, in bytes.
pub const MAX_IMAGE: usize = 2048;

const CSP: HeaderValue =
    HeaderValue::from_static("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");

/// The card of a link, `card` in its line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Card {
    pub title: Box<str>,
    pub description: Option<Box<str>>,
    /// URL of http or https.
    pub image: Option<Box<str>>,
}

impl Card {
    /// Reads `card` of a link line: `{"title": …, "description": …, "image": …}`. `None` for `null`.
    ///
    /// # Errors
    /// When a field is of another type, too long, or unknown; when the title is missing; when the image is no URL of
    /// http or https.
    pub fn parse(card: &Value) -> Result<Option<Self>, Invalid> {
        let Value::Object(members) = card else {
            if card.is_null() {
                return Ok(None);
            }
            return Err(Invalid::json("card", card, "write an object, such as {\"title\": \"Spring sale\"}"));
        };
        if let Some(name) = members.keys().find(|name| !["title", "description", "image"].contains(&name.as_str())) {
            return Err(Invalid::new("card", name, "unknown field: write `title`, `description` or `image`"));
        }
        let text = |name: &str, most: usize| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() > most => {
                Err(Invalid::new(format!("card.{name}"), text, format!("shorten it to {most} bytes")))
            }
            Some(Value::String(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Some(other) => Err(Invalid::json(format!("card.{name}"), other, "write it as text")),
        };
        let Some(title) = text("title", MAX_TITLE)? else {
            return Err(Invalid::json("card", card, "write a `title`, or leave the card out"));
        };
        let image = match text("image", MAX_IMAGE)? {
            None => None,
            Some(url) => Some(web_address(url).ok_or_else(|| {
                Invalid::new("card.image", url, "write an absolute URL, such as https://www.example.com/card.png")
            })?),
        };
        Ok(Some(Self {
            title: title.into(),
            description: text("description", MAX_DESCRIPTION)?.map(Into::into),
            image,
        }))
    }

    /// The page for a social bot that asks for the link `short`, an absolute URL, which leads to `destination`. `None`
    /// when a page cannot lead there.
    ///
    /// Networks that follow `og:url` stay with the card, because it is the link's own address; everyone else is led on.
    pub fn page(&self, short: &str, destination: &str) -> Option<Page> {
        if !is_destination(destination) {
            return None;
        }
        let mut out = String::with_capacity(1024 + 3 * destination.len());
        out.push_str(
            "<!DOCTYPE html>\n<html lang=\"en\" prefix=\"og: https://ogp.me/ns#\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
        );
        escape::push(&mut out, &self.title);
        out.push_str("</title>\n");
        let mut tag = |start: &str, value: &str| {
            out.push_str(start);
            out.push('"');
            escape::push(&mut out, value);
            out.push_str("\">\n");
        };
        tag("<meta property=\"og:type\" content=", "website");
        tag("<meta property=\"og:url\" content=", short);
        tag("<meta property=\"og:title\" content=", &self.title);
        tag("<meta name=\"twitter:title\" content=", &self.title);
        if let Some(description) = &self.description {
            tag("<meta name=\"description\" content=", description);
            tag("<meta property=\"og:description\" content=", description);
            tag("<meta name=\"twitter:description\" content=", description);
        }
        if let Some(image) = &self.image {
            tag("<meta property=\"og:image\" content=", image);
            tag("<meta name=\"twitter:image\" content=", image);
        }
        let kind = if self.image.is_some() { "summary_large_image" } else { "summary" };
        tag("<meta name=\"twitter:card\" content=", kind);
        tag("<link rel=\"canonical\" href=", destination);
        tag("<meta http-equiv=\"refresh\" content=", &format!("0; url={destination}"));
        out.push_str("</head>\n<body>\n<p><a rel=\"nofollow\" href=\"");
        escape::push(&mut out, destination);
        out.push_str("\">");
        escape::push(&mut out, &self.title);
        out.push_str("</a></p>\n</body>\n</html>\n");
        Some(Page { body: Bytes::from(out), csp: CSP, referrer_policy: NO_REFERRER })
    }
}

/// A URL of http or https in the form in which a browser reads it.
pub(super) fn web_address(text: &str) -> Option<Box<str>> {
    let url = Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    is_web.then(|| String::from(url).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::html::Html, *};

    fn error(card: &Value) -> String {
        Card::parse(card).unwrap_err().to_string()
    }

    #[test]
    fn a_card_has_the_tags_of_both_kinds_of_networks() {
        let card = json!({"title": "Spring \"sale\"", "description": "A & B", "image": "https://a.example/i.png"});
        let card = Card::parse(&card).unwrap().unwrap();
        let page = card.page("https://go.brand.com/spring", "https://www.example.com/?a=1&b=2").unwrap();
        let html = Html::read(&page.body);
        let content = |name: &str| html.content(name);
        assert_eq!(content("og:title"), "Spring \"sale\"");
        assert_eq!(content("twitter:title"), "Spring \"sale\"");
        assert_eq!(content("og:description"), "A & B");
        assert_eq!(content("og:image"), "https://a.example/i.png");
        assert_eq!(content("og:url"), "https://go.brand.com/spring");
        assert_eq!(content("twitter:card"), "summary_large_image");
        assert_eq!(content("refresh"), "0; url=https://www.example.com/?a=1&b=2");
        assert_eq!(html.all("link", "href"), ["https://www.example.com/?a=1&b=2"]);
        assert_eq!(html.all("a", "href"), ["https://www.example.com/?a=1&b=2"]);
        assert!(card.page("https://go.brand.com/spring", "javascript:x").is_none());
    }

    #[test]
    fn a_card_is_checked() {
        assert_eq!(Card::parse(&Value::Null), Ok(None));
        assert_eq!(
            error(&json!("x")),
            "card: `\"x\"`: write an object, such as {\"title\": \"Spring sale\"}".replace('"', "\\\"").replacen(
                "{\\\"title\\\": \\\"Spring sale\\\"}",
                "{\"title\": \"Spring sale\"}",
                1
            )
        );
        assert!(error(&json!({"title": " "})).contains("write a `title`"));
        assert!(error(&json!({"title": 1})).starts_with("card.title: `1`"));
        assert!(error(&json!({"title": "x", "caption": "y"})).starts_with("card: `caption`: unknown field"));
        assert!(error(&json!({"title": "x".repeat(513)})).ends_with("shorten it to 512 bytes"));
        for image in ["/card.png", "javascript:x", "data:image/png;base64,", "ftp://a.example/x", "https://"] {
            assert!(error(&json!({"title": "x", "image": image})).starts_with("card.image: "), "{image}");
        }
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_place(title in "\\PC{1,40}", description in "[ -~\u{2028}é<>\"'&]{1,40}", rest in "[!-~]{0,40}") {
            let card = Card { title: title.clone().into(), description: Some(description.clone().into()), image: None };
            let destination = format!("https://a.example/{rest}");
            let html = Html::read(&card.page("https://go.brand.com/s", &destination).unwrap().body);
            prop_assert_eq!(html.content("og:title"), title.clone());
            prop_assert_eq!(html.content("og:description"), description);
            prop_assert_eq!(html.all("a", "href"), [destination.clone()]);
            prop_assert_eq!(html.texts("a"), [title]);
            prop_assert_eq!(html.names().len(), 19);
        }
    }
}
