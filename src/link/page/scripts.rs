//! The scripts of a link, and the page that runs them and moves on.
//!
//! The page holds no code of a link as code: an inline script is the value of an attribute, and a few lines of ours
//! make a script element of it. Whatever it holds (`</script>`, quotes, `<!--`) therefore stays what it is, and a
//! script that throws, or is no script at all, stops none of the others. The destination is the value of an attribute,
//! too.
//!
//! The browser moves on when everything that the scripts load has loaded or failed (the `load` event), and at the
//! latest after the time limit; `location.replace` leaves no entry in the history. Where scripts do not run, the meta
//! element in `noscript` moves on at once; where only ours do not run, a second one does after the time limit; where
//! neither does, there is a plain link. Only inline code that never ends holds the browser, as it does on any page.
//!
//! The policy allows scripts with the nonce of this answer, and what they load (`strict-dynamic`); images, requests and
//! frames of https, which is what pixels need; and nothing else.

mod snippet;

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;

use super::{Invalid, Page, STYLE_HASH, before_title, card::web_address, end, escape, is_destination};

/// Most scripts of a link that run.
pub const MAX_SCRIPTS: usize = 8;

/// Longest inline script, in bytes.
pub const MAX_CODE: usize = 16 * 1024;

/// Longest address of a script, in bytes.
pub const MAX_URI: usize = 2048;

/// Time that scripts have, unless the operator sets another.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(1);

/// Longest time that scripts may have.
pub const MAX_LIMIT: Duration = Duration::from_secs(10);

/// Moves on after the time limit, or when everything has loaded.
const GUARD: &str = "(function(d){var t=d.to,n;function go(){n||(n=1,location.replace(t))}\
    setTimeout(go,+d.ms);addEventListener(\"load\",go)})(document.currentScript.dataset)";

/// Runs the code of its attribute.
const RUNNER: &str = "(function(c){var s=document.createElement(\"script\");s.nonce=c.nonce;s.text=c.dataset.code;\
    c.after(s)})(document.currentScript)";

/// The scripts of a link that run, in their order: `scripts` in its line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scripts(Box<[Script]>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Script {
    /// Loaded from an address of http or https.
    Uri(Box<str>),
    Code(Box<str>),
}

/// What marks the scripts of one answer.
#[derive(Clone, Copy)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// A nonce that no one can know before.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Scripts {
    /// Reads `scripts` of a link line: `[{"id": …, "name": …, "uri": … or "value": …}]`. A script with neither address
    /// nor code runs nothing; of one with both, the address counts. `None` when none runs.
    ///
    /// # Errors
    /// When there are too many, one is too long, or an address is not one of http or https.
    pub fn parse(scripts: &Value) -> Result<Option<Self>, Invalid> {
        let entities = match scripts {
            Value::Null => return Ok(None),
            Value::Array(entities) => entities,
            _ => {
                return Err(Invalid::json(
                    "scripts",
                    scripts,
                    "write a list of objects with `id` and `uri` or `value`",
                ));
            }
        };
        let part = |(at, entity): (usize, &'_ Value)| {
            let Value::Object(members) = entity else {
                let remedy = "write an object with `id` and `uri` or `value`";
                return Err(Invalid::json(format!("scripts[{at}]"), entity, remedy));
            };
            Ok((members.get("uri").cloned(), members.get("value").cloned()))
        };
        let parts = entities.iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?;
        Self::of(parts.iter().map(|(uri, value)| (uri.as_ref(), value.as_ref())))
    }

    /// The scripts with these `uri` and `value`, as in [`parse`](Self::parse).
    ///
    /// # Errors
    /// As in [`parse`](Self::parse).
    pub fn of<'a>(
        parts: impl IntoIterator<Item = (Option<&'a Value>, Option<&'a Value>)>,
    ) -> Result<Option<Self>, Invalid> {
        let mut parsed = Vec::new();
        for (at, (uri, value)) in parts.into_iter().enumerate() {
            parsed.extend(Script::of(at, uri, value)?);
        }
        if parsed.len() > MAX_SCRIPTS {
            let remedy = format!("at most {MAX_SCRIPTS} run: remove some, or load them by one");
            return Err(Invalid::new("scripts", &format!("{} scripts", parsed.len()), remedy));
        }
        Ok((!parsed.is_empty()).then(|| Self(parsed.into())))
    }

    /// The page that runs them, and then leads to `destination`. `None` when a page cannot lead there: then a redirect
    /// can.
    pub fn page(&self, destination: &str, limit: Duration, nonce: Nonce) -> Option<Page> {
        if !is_destination(destination) {
            return None;
        }
        let limit = limit.min(MAX_LIMIT);
        let nonce = format!("{:032x}", u128::from_be_bytes(nonce.0));
        let length = |script: &Script| 512 + script.text().len();
        let mut out = String::with_capacity(2048 + 4 * destination.len() + self.0.iter().map(length).sum::<usize>());
        out.push_str(concat!(before_title!(), "One moment</title>\n"));
        let _ = write!(out, "<script nonce=\"{nonce}\" data-ms=\"{}\" data-to=\"", limit.as_millis());
        escape::push(&mut out, destination);
        let _ = write!(out, "\">{GUARD}</script>\n<noscript><meta http-equiv=\"refresh\" content=\"0; url=");
        escape::push(&mut out, destination);
        let last = limit.as_millis().div_ceil(1000) + 2;
        let _ = write!(out, "\"></noscript>\n<meta http-equiv=\"refresh\" content=\"{last}; url=");
        escape::push(&mut out, destination);
        out.push_str("\">\n</head>\n<body>\n<main>\n<h1>One moment …</h1>\n<p><a rel=\"nofollow\" href=\"");
        escape::push(&mut out, destination);
        out.push_str("\">Continue</a></p>\n");
        for script in &self.0 {
            let (attribute, code) = match script {
                Script::Uri(_) => ("async src", ""),
                Script::Code(_) => ("data-code", RUNNER),
            };
            let _ = write!(out, "<script nonce=\"{nonce}\" {attribute}=\"");
            escape::push(&mut out, script.text());
            let _ = writeln!(out, "\">{code}</script>");
        }
        out.push_str(end!());
        let csp = format!(
            "default-src 'none'; script-src 'nonce-{nonce}' 'strict-dynamic'; style-src {STYLE_HASH}; img-src https:; \
             connect-src https:; frame-src https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Some(Page {
            body: Bytes::from(out),
            csp: HeaderValue::try_from(csp).ok()?,
            referrer_policy: HeaderValue::from_static("strict-origin-when-cross-origin"),
        })
    }
}

impl Script {
    /// A `value` may be HTML around several scripts, as services hand out their snippets.
    fn of(at: usize, uri: Option<&Value>, value: Option<&Value>) -> Result<Vec<Self>, Invalid> {
        let text = |name: &str, given: Option<&'_ Value>, most: usize| match given {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.len() > most => {
                let remedy = format!("shorten it to {most} bytes, or load it from a `uri`");
                Err(Invalid::new(format!("scripts[{at}].{name}"), text, remedy))
            }
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Some(other) => Err(Invalid::json(format!("scripts[{at}].{name}"), other, "write it as text")),
        };
        if let Some(uri) = text("uri", uri, MAX_URI)? {
            let address = web_address(&uri).ok_or_else(|| {
                let remedy = "write an absolute URL, such as https://static.example.com/p.js";
                Invalid::new(format!("scripts[{at}].uri"), &uri, remedy)
            })?;
            return Ok(vec![Self::Uri(address)]);
        }
        let Some(code) = text("value", value, MAX_CODE)? else { return Ok(Vec::new()) };
        if code.contains('\0') {
            return Err(Invalid::new(
                format!("scripts[{at}].value"),
                &code,
                "write the code of the script without NUL",
            ));
        }
        if !code.starts_with('<') {
            return Ok(vec![Self::Code(code.into())]);
        }
        let found = snippet::scripts(&code).into_iter().map(|script| match script {
            snippet::Script::Uri(uri) => web_address(&uri).map(Self::Uri),
            snippet::Script::Code(code) => Some(Self::Code(code.into())),
        });
        found.collect::<Option<Vec<_>>>().filter(|found| !found.is_empty()).ok_or_else(|| {
            let remedy = "write JavaScript, or HTML with a <script> that has code or an absolute `src`";
            Invalid::new(format!("scripts[{at}].value"), &code, remedy)
        })
    }

    fn text(&self) -> &str {
        match self {
            Self::Uri(text) | Self::Code(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::html::Html, *};

    const NONCE: Nonce = Nonce(*b"\x000123456789abcde");

    fn error(scripts: &Value) -> String {
        Scripts::parse(scripts).unwrap_err().to_string()
    }

    #[test]
    fn a_script_with_neither_address_nor_code_runs_nothing() {
        for scripts in
            [json!(null), json!([]), json!([{"id": "a", "name": "b"}]), json!([{"uri": null, "value": " "}])]
        {
            assert_eq!(Scripts::parse(&scripts), Ok(None), "{scripts}");
        }
        let both =
            Scripts::parse(&json!([{"id": 1, "uri": "https://a.example/x.js", "value": "x"}])).unwrap().unwrap();
        assert_eq!(both.0[..], [Script::Uri("https://a.example/x.js".into())]);
    }

    #[test]
    fn scripts_are_checked() {
        assert!(error(&json!({})).starts_with("scripts: "));
        assert!(error(&json!(["x"])).starts_with("scripts[0]: "));
        assert!(error(&json!([{}, {"value": 1}])).starts_with("scripts[1].value: `1`: write it as text"));
        for uri in ["javascript:x", "//a.example/x.js", "/x.js", "data:text/javascript,x", "ftp://a.example/x.js"] {
            assert!(error(&json!([{"uri": uri}])).contains("write an absolute URL"), "{uri}");
        }
        assert!(error(&json!([{"value": "<p>no script</p>"}])).contains("HTML with a <script>"));
        assert!(error(&json!([{"value": "x".repeat(MAX_CODE + 1)}])).contains("shorten it to 16384 bytes"));
        let many: Vec<_> = (0..9).map(|_| json!({"value": "x"})).collect();
        assert!(error(&json!(many)).starts_with("scripts: `9 scripts`: at most 8 run"));
    }

    #[test]
    fn the_policy_names_the_nonce_of_the_scripts() {
        let scripts = Scripts(Box::new([Script::Code("x".into()), Script::Uri("https://a.example/x.js".into())]));
        let page = scripts.page("https://www.example.com/", DEFAULT_LIMIT, NONCE).unwrap();
        let html = Html::read(&page.body);
        let nonces = html.all("script", "nonce");
        assert_eq!(nonces.len(), 3);
        let source = format!("script-src 'nonce-{}' 'strict-dynamic';", nonces[0]);
        assert!(page.csp.to_str().unwrap().contains(&source));
        assert_eq!(nonces[0].len(), 32);
        assert!(nonces.iter().all(|nonce| *nonce == nonces[0]));
        let one_more = [Nonce::random().unwrap(), Nonce::random().unwrap()];
        assert_ne!(one_more[0].0, one_more[1].0);
    }

    #[test]
    fn a_page_leads_nowhere_that_runs_code() {
        let scripts = Scripts(Box::new([Script::Code("x".into())]));
        assert!(scripts.page("javascript:alert(1)", DEFAULT_LIMIT, NONCE).is_none());
        assert!(scripts.page("intent://scan/#Intent;end", DEFAULT_LIMIT, NONCE).is_some());
    }

    fn part() -> impl Strategy<Value = String> {
        let mark = prop::sample::select(vec![
            "</script>",
            "<!--",
            "-->",
            "<script>",
            "\"",
            "'",
            "`",
            "\\",
            "\u{2028}",
            "\u{2029}",
            "\r\n",
            "\r",
            "&quot;",
            "&",
            "&#0;",
            "]]>",
            "</noscript>",
            "é",
            "x",
            " ",
            ">",
            "=",
            "\u{feff}",
        ]);
        prop::collection::vec(prop_oneof![mark.prop_map(str::to_owned), "\\PC{0,3}"], 0..12).prop_map(|v| v.concat())
    }

    proptest! {
        #[test]
        fn nothing_leaves_its_place(
            rest in part(),
            codes in prop::collection::vec(part(), 0..4),
            paths in prop::collection::vec("[!-~]{0,30}", 0..4),
        ) {
            let destination = format!("https://a.example/{}", rest.replace(['\r', '\n'], ""));
            let codes: Vec<_> = codes.into_iter().map(|code| format!("x{code}")).collect();
            let uris: Vec<_> = paths.iter().map(|path| web_address(&format!("https://b.example/{path}")).unwrap()).collect();
            let scripts = uris.iter().cloned().map(Script::Uri).chain(codes.iter().map(|code| Script::Code((**code).into())));
            let page = Scripts(scripts.collect()).page(&destination, DEFAULT_LIMIT, NONCE).unwrap();
            let html = Html::read(&page.body);
            prop_assert_eq!(html.all("script", "data-code"), codes.clone());
            prop_assert_eq!(html.all("script", "src"), uris.iter().map(ToString::to_string).collect::<Vec<_>>());
            prop_assert_eq!(html.all("script", "data-to"), [destination.clone()]);
            prop_assert_eq!(html.all("a", "href"), [destination.clone()]);
            let mut names = vec!["html", "head", "meta", "meta", "meta", "style", "title", "script"];
            // The tokenizer takes the content of `noscript` as a browser with scripts does: as text.
            names.extend(["noscript", "meta", "body", "main", "h1", "p", "a"]);
            names.resize(names.len() + codes.len() + uris.len(), "script");
            prop_assert_eq!(html.names(), names);
            let codes_of_ours = html.texts("script");
            prop_assert_eq!(codes_of_ours[0], GUARD);
            prop_assert!(codes_of_ours[1..].iter().all(|code| code.is_empty() || *code == RUNNER));
        }
    }
}
