//! The page that says where a link leads, for a link with a `+` at its end.

use url::Url;

use super::{Page, after_title, before_title, end, escape, is_destination};

/// The page for the link `short`, such as `go.brand.com/spring`, which leads to `destination`.
pub fn preview(short: &str, destination: &str) -> Page {
    let mut body = String::with_capacity(2048 + 2 * destination.len());
    body.push_str(concat!(
        before_title!(),
        "Where this link leads",
        after_title!(),
        "<h1>Where this link leads</h1>\n"
    ));
    body.push_str("<p><code>");
    escape::push(&mut body, &escape::readable(short, 2048));
    body.push_str("</code> leads to");
    if let Some(host) = host(destination) {
        body.push_str(" <strong>");
        escape::push(&mut body, &host);
        body.push_str("</strong>");
    }
    body.push_str(":</p>\n<p><code>");
    escape::push(&mut body, &escape::readable(destination, usize::MAX));
    body.push_str("</code></p>\n");
    if is_destination(destination) {
        body.push_str("<p><a rel=\"noreferrer noopener nofollow\" href=\"");
        escape::push(&mut body, destination);
        body.push_str("\">Open this address</a></p>\n");
    }
    body.push_str(end!());
    Page::own(body)
}

/// The host that a browser would connect to, which is not always the one that a URL seems to name.
fn host(destination: &str) -> Option<String> {
    let url = Url::parse(destination).ok()?;
    url.host_str().filter(|host| !host.is_empty() && matches!(url.scheme(), "http" | "https")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::html::Html, *};

    #[test]
    fn the_page_names_the_host_that_is_asked() {
        let page = preview("go.brand.com/spring", "https://bank.example@evil.example/?a=1&b=2#c");
        let html = Html::read(&page.body);
        assert_eq!(html.texts("strong"), ["evil.example"]);
        assert_eq!(html.texts("code"), ["go.brand.com/spring", "https://bank.example@evil.example/?a=1&b=2#c"]);
        assert_eq!(html.all("a", "href"), ["https://bank.example@evil.example/?a=1&b=2#c"]);
        assert_eq!(html.all("a", "rel"), ["noreferrer noopener nofollow"]);
        assert!(html.all("meta", "http-equiv").is_empty());
    }

    proptest! {
        #[test]
        fn no_destination_leaves_its_place(rest in "[ -~\u{2028}é<>\"'&]{0,60}") {
            let destination = format!("https://a.example/{rest}");
            let html = Html::read(&preview("go.brand.com/a", &destination).body);
            prop_assert_eq!(html.all("a", "href"), [destination.clone()]);
            prop_assert_eq!(html.texts("code"), ["go.brand.com/a".to_owned(), destination]);
            let names = ["html", "head", "meta", "meta", "meta", "style", "title", "body", "main", "h1", "p", "code",
                "strong", "p", "code", "p", "a"];
            prop_assert_eq!(html.names(), names);
        }
    }
}
