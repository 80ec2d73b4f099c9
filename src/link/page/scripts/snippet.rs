//! Reads the scripts of a snippet of HTML, as analytics and advertising services hand it out. What else is in it
//! (images for browsers without scripts, comments) is left out.

/// A script of a snippet.
#[derive(Debug, Eq, PartialEq)]
pub enum Script {
    /// Its `src`.
    Uri(String),
    Code(String),
}

/// The scripts of a snippet, in their order. Blocks of data, such as JSON, are left out.
pub fn scripts(html: &str) -> Vec<Script> {
    let lower = html.to_ascii_lowercase();
    let mut scripts = Vec::new();
    let mut at = 0;
    while let Some(start) = find(&lower, "<script", at) {
        let after = start + "<script".len();
        at = after;
        if !lower[after..].starts_with(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/')) {
            continue;
        }
        let Some(end) = end_of_tag(&lower, after) else { break };
        let close = find(&lower, "</script", end).unwrap_or(html.len());
        at = close;
        let attributes = &html[after..end];
        let kind = attribute(attributes, "type").unwrap_or_default().to_ascii_lowercase();
        if !matches!(&*kind, "" | "module" | "text/javascript" | "application/javascript" | "text/ecmascript") {
            continue;
        }
        let code = html[(end + 1).min(close)..close].trim();
        match attribute(attributes, "src") {
            Some(src) if src.starts_with("//") => scripts.push(Script::Uri(format!("https:{src}"))),
            Some(src) => scripts.push(Script::Uri(src)),
            None if !code.is_empty() => scripts.push(Script::Code(code.to_owned())),
            None => {}
        }
    }
    scripts
}

fn find(text: &str, part: &str, from: usize) -> Option<usize> {
    text.get(from..)?.find(part).map(|at| from + at)
}

/// The `>` of a tag, outside the values of its attributes.
fn end_of_tag(text: &str, from: usize) -> Option<usize> {
    let mut quote = None;
    text.bytes().enumerate().skip(from).find_map(|(at, byte)| match (quote, byte) {
        (None, b'>') => Some(at),
        (None, b'"' | b'\'') => {
            quote = Some(byte);
            None
        }
        (Some(open), byte) if byte == open => {
            quote = None;
            None
        }
        _ => None,
    })
}

/// The value of an attribute, with the references that addresses have decoded.
fn attribute(attributes: &str, name: &str) -> Option<String> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        let length = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/')).unwrap_or(rest.len());
        if length == 0 {
            return None;
        }
        let (found, after) = rest.split_at(length);
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=') else {
            rest = after;
            continue;
        };
        let value = value.trim_start();
        let (value, after) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split_once(quote)?,
            _ => value.split_at(value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len())),
        };
        if found.eq_ignore_ascii_case(name) {
            return Some(value.trim().replace("&amp;", "&"));
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uri(text: &str) -> Script {
        Script::Uri(text.into())
    }

    fn code(text: &str) -> Script {
        Script::Code(text.into())
    }

    #[test]
    fn the_scripts_of_a_snippet_are_found_in_their_order() {
        let html = "<!-- Pixel -->\n<SCRIPT async src='https://a.example/p.js?a=1&amp;b=2'></SCRIPT>\n\
            <script type=\"text/javascript\"> if (1 > 0) { run(\"</b>\") } </script>\n\
            <script type=\"application/ld+json\">{}</script>\n\
            <noscript><img src=\"https://a.example/i.gif\"></noscript>\n\
            <script data-x=\"a>b\" src=//b.example/q.js defer></script><scripted>";
        assert_eq!(
            scripts(html),
            [
                uri("https://a.example/p.js?a=1&b=2"),
                code("if (1 > 0) { run(\"</b>\") }"),
                uri("https://b.example/q.js"),
            ]
        );
        assert_eq!(scripts("<script>secret()"), [code("secret()")]);
        assert_eq!(scripts("<p>none</p><script></script><script"), []);
    }

    proptest! {
        #[test]
        fn any_text_is_read(html in "(<script|</script|>|src=|type=|[\"' =a/]|\u{e9}){0,30}") {
            scripts(&html);
        }
    }
}
