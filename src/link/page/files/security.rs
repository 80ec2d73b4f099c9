//! The fields of `security.txt` (RFC 9116), as far as a file without them is useless.

use jiff::Timestamp;
use url::Url;

use super::Invalid;

const FIELD: &str = "securityTxt";

/// Checks the text, and returns when it expires.
///
/// # Errors
/// Without a contact, with one that is no address, or without one date in `Expires`.
pub fn check(text: &str) -> Result<Timestamp, Invalid> {
    let invalid = |value: &str, remedy: &str| Invalid::new(FIELD, value, remedy);
    let is_signed = text.starts_with("-----BEGIN PGP SIGNED MESSAGE-----");
    let (mut contacts, mut languages, mut expires) = (0, 0, None);
    for line in text.lines().map(str::trim_end) {
        // What follows the signature's mark is no field.
        if is_signed && line == "-----BEGIN PGP SIGNATURE-----" {
            break;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            if is_signed {
                continue;
            }
            return Err(invalid(line, "write each line as `Name: value`, or as a comment with `#`"));
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("contact") {
            if !is_contact(value) {
                return Err(invalid(line, "write an address, such as `Contact: mailto:security@example.com`"));
            }
            contacts += 1;
        } else if name.eq_ignore_ascii_case("expires") {
            let date: Timestamp = value
                .parse()
                .map_err(|_| invalid(line, "write a date of RFC 3339, such as `Expires: 2027-12-31T23:00:00Z`"))?;
            if expires.replace(date).is_some() {
                return Err(invalid(line, "write `Expires` once"));
            }
        } else if name.eq_ignore_ascii_case("preferred-languages") {
            languages += 1;
            if languages > 1 {
                return Err(invalid(line, "write `Preferred-Languages` once"));
            }
        }
    }
    if contacts == 0 {
        return Err(invalid(text, "write a contact, such as `Contact: mailto:security@example.com`"));
    }
    expires.ok_or_else(|| invalid(text, "write when it expires, such as `Expires: 2027-12-31T23:00:00Z`"))
}

/// Whether this is a URI; a page is one of https (RFC 9116, 2.5.3).
fn is_contact(value: &str) -> bool {
    Url::parse(value).is_ok_and(|url| url.scheme() != "http")
}
