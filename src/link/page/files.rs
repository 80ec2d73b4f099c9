//! Files of a domain that programs look for: `robots.txt`, the icon, the files that connect a domain to apps, and
//! `security.txt`.

mod security;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Invalid, card::web_address};

/// Largest icon, in bytes.
pub const MAX_FAVICON: usize = 64 * 1024;

/// Largest of all other files, in bytes.
pub const MAX_FILE: usize = 128 * 1024;

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The types of icons that browsers show.
const ICONS: [&str; 8] = [
    "image/x-icon",
    "image/vnd.microsoft.icon",
    "image/png",
    "image/svg+xml",
    "image/gif",
    "image/jpeg",
    "image/webp",
    "image/avif",
];

/// What a file of a domain is answered with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum File {
    /// 200 with this body.
    Body {
        content_type: HeaderValue,
        body: Bytes,
        /// `Content-Security-Policy`, for what a browser would show as a document of the domain.
        csp: Option<HeaderValue>,
    },
    /// A redirect to this URL of http or https.
    Redirect(Bytes),
}

/// The files of a domain. None of them is a click.
#[derive(Clone, Debug, Default)]
pub struct Files {
    robots: Option<File>,
    favicon: Option<File>,
    apple_app_site_association: Option<File>,
    asset_links: Option<File>,
    security_txt: Option<File>,
    security_expires: Option<Timestamp>,
}

/// The fields of a domain line that are files. `null` is as good as absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileFields<'a> {
    /// `robots`: the text of `robots.txt`.
    pub robots: Option<&'a Value>,
    /// `favicon`: `data:image/…;base64,…`, or a URL of http or https.
    pub favicon: Option<&'a Value>,
    /// `appleAppSiteAssociation`: JSON.
    pub apple_app_site_association: Option<&'a Value>,
    /// `assetLinks`: JSON.
    pub asset_links: Option<&'a Value>,
    /// `securityTxt`: the text of `security.txt`.
    pub security_txt: Option<&'a Value>,
}

impl Files {
    /// Reads the files of a domain line.
    ///
    /// # Errors
    /// When one is too large, or not what programs expect.
    pub fn parse(fields: &FileFields<'_>) -> Result<Self, Invalid> {
        let given = |value: Option<&'_ Value>| value.cloned().filter(|value| !value.is_null());
        let mut files = Self {
            robots: given(fields.robots).map(|value| robots(&value)).transpose()?,
            favicon: given(fields.favicon).map(|value| favicon(&value)).transpose()?,
            apple_app_site_association: given(fields.apple_app_site_association)
                .map(|value| apple(&value))
                .transpose()?,
            asset_links: given(fields.asset_links).map(|value| asset_links(&value)).transpose()?,
            ..Self::default()
        };
        if let Some(value) = given(fields.security_txt) {
            let text = text("securityTxt", &value)?;
            files.security_expires = Some(security::check(text)?);
            files.security_txt = Some(body(PLAIN, text.to_owned()));
        }
        Ok(files)
    }

    /// The file at a path, as requested.
    pub fn at(&self, path: &[u8]) -> Option<&File> {
        match path {
            b"/robots.txt" => self.robots.as_ref(),
            b"/favicon.ico" => self.favicon.as_ref(),
            b"/.well-known/apple-app-site-association" | b"/apple-app-site-association" => {
                self.apple_app_site_association.as_ref()
            }
            b"/.well-known/assetlinks.json" => self.asset_links.as_ref(),
            b"/.well-known/security.txt" => self.security_txt.as_ref(),
            _ => None,
        }
    }

    /// Whether the domain has no file.
    pub fn is_empty(&self) -> bool {
        let files =
            [&self.robots, &self.favicon, &self.apple_app_site_association, &self.asset_links, &self.security_txt];
        files.iter().all(|file| file.is_none())
    }

    /// When `security.txt` expires. From then on it is to be replaced, because no one should rely on it.
    pub fn security_expires(&self) -> Option<Timestamp> {
        self.security_expires
    }
}

fn body(content_type: HeaderValue, body: impl Into<Bytes>) -> File {
    File::Body { content_type, body: body.into(), csp: None }
}

fn text<'a>(field: &str, value: &'a Value) -> Result<&'a str, Invalid> {
    let Value::String(text) = value else {
        return Err(Invalid::json(field, value, "write the file as text, lines divided by \\n"));
    };
    if text.len() > MAX_FILE {
        return Err(Invalid::new(field, &format!("{} bytes", text.len()), format!("shorten it to {MAX_FILE} bytes")));
    }
    if let Some(control) = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Invalid::new(field, &control.to_string(), "remove the control character"));
    }
    Ok(text)
}

fn robots(value: &Value) -> Result<File, Invalid> {
    Ok(body(PLAIN, text("robots", value)?.to_owned()))
}

fn favicon(value: &Value) -> Result<File, Invalid> {
    let remedy = "write a URL of https, or the icon as data:image/png;base64,…";
    let Value::String(text) = value else {
        return Err(Invalid::json("favicon", value, remedy));
    };
    let invalid = |remedy: String| Invalid::new("favicon", text, remedy);
    let Some(data) = text.strip_prefix("data:") else {
        let url = web_address(text).filter(|url| url.len() <= 2048).ok_or_else(|| invalid(remedy.into()))?;
        return Ok(File::Redirect(Bytes::from(String::from(url))));
    };
    let (kind, encoded) = data.split_once(";base64,").ok_or_else(|| invalid(remedy.into()))?;
    let Some(kind) = ICONS.iter().find(|icon| kind.eq_ignore_ascii_case(icon)) else {
        return Err(invalid(format!("no icon that browsers show: write one of {}", ICONS.join(", "))));
    };
    if encoded.len() > MAX_FAVICON.div_ceil(3) * 4 {
        return Err(invalid(format!("the icon is larger than {MAX_FAVICON} bytes: write a smaller one, or a URL")));
    }
    let icon = STANDARD.decode(encoded).map_err(|error| invalid(format!("{error}: write the icon as base64")))?;
    if icon.is_empty() || icon.len() > MAX_FAVICON {
        return Err(invalid(format!("the icon has {} bytes: write one of 1 to {MAX_FAVICON}", icon.len())));
    }
    // An SVG can hold scripts, and would run them in the name of the domain.
    let csp = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    Ok(File::Body { content_type: HeaderValue::from_static(kind), body: icon.into(), csp: Some(csp) })
}

/// A JSON file, given as JSON or as text that is JSON.
fn json(field: &str, value: &Value) -> Result<(Value, File), Invalid> {
    let (value, written) = match value {
        Value::String(text) => {
            let value = serde_json::from_str(text).map_err(|_| {
                Invalid::new(field, text, "this text is not JSON: write the file itself, not in quotes")
            })?;
            (value, text.clone())
        }
        other => (other.clone(), other.to_string()),
    };
    if written.len() > MAX_FILE {
        let remedy = format!("shorten it to {MAX_FILE} bytes");
        return Err(Invalid::new(field, &format!("{} bytes", written.len()), remedy));
    }
    Ok((value, body(JSON, written)))
}

/// The services that a domain can share with an app.
const APPLE: [&str; 4] = ["applinks", "webcredentials", "appclips", "activitycontinuation"];

fn apple(value: &Value) -> Result<File, Invalid> {
    let field = "appleAppSiteAssociation";
    let (value, file) = json(field, value)?;
    let has_service =
        |object: &Map<String, Value>| APPLE.iter().any(|name| object.get(*name).is_some_and(Value::is_object));
    if value.as_object().is_some_and(has_service) {
        return Ok(file);
    }
    let remedy = format!("write an object with an object for {}", APPLE.join(", "));
    Err(Invalid::json(field, &value, remedy))
}

fn asset_links(value: &Value) -> Result<File, Invalid> {
    let (value, file) = json("assetLinks", value)?;
    let is_statement = |statement: &Value| {
        let target = statement.get("target");
        statement.get("relation").is_some_and(Value::is_array)
            && target.and_then(|target| target.get("namespace")).is_some_and(Value::is_string)
    };
    let remedy = "write a list of statements, such as \
        [{\"relation\": [\"delegate_permission/common.handle_all_urls\"], \"target\": {\"namespace\": \"android_app\", …}}]";
    let Value::Array(statements) = &value else {
        return Err(Invalid::json("assetLinks", &value, remedy));
    };
    match statements.iter().position(|statement| !is_statement(statement)) {
        None => Ok(file),
        Some(at) => Err(Invalid::json(format!("assetLinks[{at}]"), &statements[at], remedy)),
    }
}

#[cfg(test)]
mod tests;
