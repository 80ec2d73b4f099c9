use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::{super::html::Html, *};

const NONE: [&str; 0] = [];

fn pages(pages: &Value) -> Pages {
    Pages::parse(pages, &NONE).unwrap()
}

fn error(pages: &Value) -> String {
    Pages::parse(pages, &NONE).unwrap_err().to_string()
}

fn asked<'a>(path: &'a str, accept_language: &'a str) -> Asked<'a> {
    Asked { path: path.as_bytes(), domain: "go.brand.com", title: None, accept_language: accept_language.as_bytes() }
}

fn body(page: &Page) -> &str {
    std::str::from_utf8(&page.body).unwrap()
}

#[test]
fn placeholders_are_filled_in_and_escaped() {
    let html = "<title>{{ title }}</title><p title=\"{{path}}\">{{path}} on {{domain}}</p>";
    let pages = pages(&json!({"notFound": html}));
    let page = pages.not_found(&asked("/a<b>\"c", ""));
    let escaped = "/a&lt;b&gt;&quot;c";
    let expected = format!("<title>Link not found</title><p title=\"{escaped}\">{escaped} on go.brand.com</p>");
    assert_eq!(body(&page), expected);
    assert!(page.csp.to_str().unwrap().starts_with("default-src 'none'; "));
    assert!(!page.csp.to_str().unwrap().contains("script-src"));
    let titled = Asked { title: Some("R&D"), ..asked("/", "") };
    assert!(body(&pages.not_found(&titled)).starts_with("<title>R&amp;D</title>"));
}

#[test]
fn a_page_is_in_the_language_of_the_visitor() {
    let pages = pages(&json!({"gone": {"en": "over", "fr": "fini", "de": "vorbei"}}));
    let gone = |header: &str| body(&pages.gone(&asked("/", header))).to_owned();
    assert_eq!(gone("fr-CH, en;q=0.9"), "fini");
    assert_eq!(gone("ja, de;q=0.1"), "vorbei");
    assert_eq!(gone("ja"), "over");
    assert_eq!(gone(""), "over");
}

#[test]
fn the_form_stands_where_the_template_has_it() {
    let pages = Pages::parse(&json!({"password": "<h1>Mot de passe</h1>{{form}}"}), &["android"]).unwrap();
    let page = pages.password(&asked("/p", ""), Some(FormError::Wrong));
    let html = Html::read(&page.body);
    assert_eq!(html.all("form", "method"), ["post"]);
    assert_eq!(html.all("form", "action"), [""; 0]);
    assert_eq!(html.all("input", "name"), ["password"]);
    assert_eq!(html.all("input", "autocomplete"), ["off"]);
    assert!(body(&page).contains("This password is wrong."));
    assert!(page.csp.to_str().unwrap().ends_with("form-action 'self' https: http: android:"));
}

#[test]
fn the_built_in_pages_have_a_language_and_no_other_resources() {
    let pages = Pages::default();
    let wait = FormError::TooMany { retry_after: Duration::from_secs(601) };
    let asked = asked("/x", "fr");
    for page in [pages.not_found(&asked), pages.gone(&asked), pages.password(&asked, Some(wait))] {
        let html = Html::read(&page.body);
        assert_eq!(html.all("html", "lang"), ["en"]);
        assert_eq!(html.content("viewport"), "width=device-width, initial-scale=1");
        assert!(html.texts("style")[0].starts_with(":root{color-scheme:light dark}"));
        assert!(!body(&page).contains("src=") && !body(&page).contains("href="));
        assert!(page.body.len() < 2048, "{}", page.body.len());
    }
    assert!(body(&pages.password(&asked, Some(wait))).contains("Try again in 11 minutes."));
    assert!(body(&pages.password(&asked, None)).contains("<form method=\"post\""));
    let csp = pages.password(&asked, None).csp;
    assert!(csp.to_str().unwrap().contains("form-action 'self' https: http:;"));
}

#[test]
fn templates_are_checked() {
    let many = "{{path}}".repeat(MAX_PLACEHOLDERS + 1);
    let cases = [
        (json!("x"), "pages: `\\\"x\\\"`: write an object"),
        (json!({"notfound": "x"}), "pages: `notfound`: unknown page"),
        (json!({"notFound": 1}), "pages.notFound: `1`: write the HTML"),
        (json!({"notFound": " "}), "pages.notFound: ` `: write the HTML"),
        (json!({"notFound": {}}), "pages.notFound: `0 languages`: write between 1 and 32"),
        (json!({"notFound": {"french": "x"}}), "pages.notFound: `french`: no language"),
        (json!({"notFound": {"fr": 1}}), "pages.notFound.fr: `1`: write the HTML"),
        (json!({"notFound": "x".repeat(MAX_TEMPLATE + 1)}), "pages.notFound: `65537 bytes`: shorten"),
        (json!({"notFound": many}), "pages.notFound: `{{path}}`: more than 32 placeholders"),
        (json!({"gone": {"en": "x", "fr": "{{pth}}"}}), "pages.gone.fr: `{{pth}}`: unknown placeholder"),
        (json!({"gone": "a {{path"}), "pages.gone: `{{path`: unknown placeholder"),
        (json!({"gone": "{{}}"}), "pages.gone: `{{}}`: unknown placeholder"),
        (json!({"gone": "{{{path}}}"}), "pages.gone: `{{{path}}`: unknown placeholder"),
        (json!({"gone": "{{form}}"}), "pages.gone: `{{form}}`: only the password page has a form"),
        (json!({"password": "x"}), "pages.password: `{{form}}, 0 times`: write {{form}} once"),
        (json!({"password": "{{form}}{{form}}"}), "pages.password: `{{form}}, 2 times`"),
        (json!({"password": "<title>{{form}}</title>"}), "a form stands in the text of the page"),
        (json!({"password": "<p title='{{form}}'>"}), "a form stands in the text of the page"),
        (json!({"gone": "<script src=x></script>"}), "pages.gone: `<script`: scripts do not run"),
        (json!({"gone": "<style>a{b:{{path}}}</style>"}), "inside <style>"),
        (json!({"gone": "<noscript>{{path}}</noscript>"}), "inside <noscript>"),
        (json!({"gone": "<!-- {{path}} -->"}), "inside a comment"),
        (json!({"gone": "<svg><text>{{path}}</text></svg>"}), "inside <svg>"),
        (json!({"gone": "<a href=\"{{path}}\">"}), "in the attribute `href`"),
        (json!({"gone": "<a href='/x' onclick='{{path}}'>"}), "in the attribute `onclick`"),
        (json!({"gone": "<p style='{{path}}'>"}), "in the attribute `style`"),
        (json!({"gone": "<p title={{path}}>"}), "which has no quotes"),
        (json!({"gone": "<p {{path}}>"}), "outside the value of an attribute"),
        (json!({"gone": "<p a=1 {{path}}='x'>"}), "outside the value of an attribute"),
        (json!({"gone": "<{{path}}>"}), "right after `<`"),
        (json!({"gone": "<title></titl{{path}}"}), "right after `<`"),
        (json!({"gone": "<p{{path}}>"}), "in the name of an element"),
        (json!({"gone": "</p {{path}}>"}), "outside the value of an attribute"),
        (json!({"gone": "<!doctype {{path}}>"}), "inside a declaration"),
        (json!({"gone": "<plaintext>{{path}}"}), "after <plaintext>"),
    ];
    for (pages, expected) in cases {
        let error = error(&pages);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn markup_of_all_kinds_is_taken() {
    for html in [
        "<!-- a -->{{path}}<!-->{{path}}<!--->{{path}}<!-- - -- --->{{path}}<!-- --!>{{path}}",
        "<p title=\"{{path}}\" data-é='{{domain}}' x=y disabled a = 'b'/>{{path}}<br/><p =a>{{path}}",
        "<svg viewBox='0 0 1 1'><title>x</title><style>a{}</style></svg>{{path}}",
        "<style>a{color:red}</style><title>a</titles>{{path}}</title >{{path}}",
        "a < b {{path}} </> {{path}} <1 {{path}} é{{path}}é",
        "<textarea>{{path}}</textarea>{ {path} &#123;{",
        "<img src='https://a.example/x.png' alt='{{path}}'>",
    ] {
        assert!(Pages::parse(&json!({"gone": html}), &NONE).is_ok(), "{html}");
    }
}

#[test]
fn a_long_path_makes_no_large_page() {
    let pages = pages(&json!({"notFound": "{{path}}".repeat(MAX_PLACEHOLDERS)}));
    let page = pages.not_found(&asked(&"\"".repeat(10_000), ""));
    assert!(page.body.len() < MAX_PLACEHOLDERS * (MAX_VALUE * 6 + 4));
}

/// Pieces of markup in any order.
fn markup() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "<p ",
        "<a ",
        "title=",
        "alt='",
        "href=\"",
        "data-x=\"",
        "\"",
        "'",
        ">",
        "<",
        "/",
        "</p>",
        "<!--",
        "-->",
        "--!>",
        "<title>",
        "</title>",
        "</tit",
        "<textarea>",
        "</textarea>",
        "<style>",
        "</style>",
        "<svg>",
        "</svg>",
        "{{path}}",
        "{{domain}}",
        "{{path}}",
        " ",
        "x",
        "=",
        "é",
        "-",
        "!",
        "<br/>",
        "\n",
        "<noscript>",
        "</noscript>",
    ]);
    prop::collection::vec(part, 0..14).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_path_changes_the_structure_of_a_page(html in markup(), path in prop_oneof![Just("le x".to_owned()), Just("/title ".to_owned()), "[/<>\"'&=` a-z{}!-]{1,12}"]) {
        // The test's tokenizer does not know that `svg` has other rules.
        let html = html.replace("<svg>", "<b>");
        let Ok(pages) = Pages::parse(&json!({ "notFound": html }), &NONE) else { return Ok(()) };
        let tokens = |path: &str| {
            let page = pages.not_found(&asked(path, ""));
            let tags = Html::read_all(&page.body);
            tags.tags.into_iter().map(|tag| (tag.name, tag.attributes.into_iter().map(|(name, _)| name).collect::<Vec<_>>()))
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(tokens(&path), tokens("x"));
    }

    #[test]
    fn any_template_is_taken_or_rejected(html in "\\PC{0,60}", markup in markup()) {
        for html in [&html, &markup] {
            if let Ok(pages) = Pages::parse(&json!({"notFound": html}), &NONE) {
                pages.not_found(&asked("/x", "fr"));
            }
        }
    }
}
