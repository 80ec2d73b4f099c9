//! Conditional requests (RFC 9110, 13.1): `If-Match` and `If-None-Match`.

use http::{HeaderMap, HeaderName, header};

use super::problem::{Kind, Problem};
use crate::catalog::change::Condition;

/// Most entity tags of a condition.
const MOST: usize = 100;

/// The condition of a change, by its headers.
pub fn of_headers(headers: &HeaderMap) -> Result<Condition, Problem> {
    let values = (joined(headers, &header::IF_MATCH)?, joined(headers, &header::IF_NONE_MATCH)?);
    of(values.0.as_deref(), values.1.as_deref())
}

/// The condition of a change, by the values that the headers have.
pub fn of(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Condition, Problem> {
    match (if_match, if_none_match.map(str::trim)) {
        (None, None) => Ok(Condition::Always),
        (None, Some("*")) => Ok(Condition::Absent),
        (None, Some(_)) => Err(bad("`If-None-Match` of a change can only be `*`: the link is created, not replaced")),
        (Some(_), Some(_)) => Err(bad("send `If-Match` or `If-None-Match`, not both")),
        (Some(value), None) if value.trim() == "*" => Ok(Condition::Present),
        (Some(value), None) => match tags(value) {
            Some(tags) => Ok(Condition::Matches(tags.into_iter().map(str::to_owned).collect())),
            None => {
                Err(bad("`If-Match` is neither `*` nor a list of entity tags such as \"1f3a...\", with their quotes"))
            }
        },
    }
}

/// Whether the client of a `GET` has this version: its `If-None-Match` names the entity tag.
pub fn has_current(headers: &HeaderMap, etag: &str) -> bool {
    let Ok(Some(value)) = joined(headers, &header::IF_NONE_MATCH) else { return false };
    // RFC 9110, 13.1.2: the comparison is weak.
    let strong = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
    value.trim() == "*" || tags(&value).is_some_and(|tags| tags.into_iter().any(strong))
}

/// The values of a header that is a list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut all: Option<String> = None;
    for value in headers.get_all(name) {
        let value = value.to_str().map_err(|_| bad(format!("`{name}` has other characters than ASCII")))?;
        all = Some(all.map_or_else(|| value.to_owned(), |before| format!("{before}, {value}")));
    }
    Ok(all)
}

/// The entity tags of a list: at least one, each with its quotes.
fn tags(list: &str) -> Option<Vec<&str>> {
    let (mut tags, mut rest) = (Vec::new(), list.trim_start_matches(SEPARATORS));
    while !rest.is_empty() {
        let quoted = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let inside = quoted.find('"')?;
        let end = rest.len() - quoted.len() + inside + 1;
        tags.push(&rest[..end]);
        let after = &rest[end..];
        rest = after.trim_start_matches(SEPARATORS);
        let is_separated = rest.is_empty() || after[..after.len() - rest.len()].contains(',');
        if !is_separated || quoted[..inside].contains(|c: char| c.is_control() || c == ' ') || tags.len() > MOST {
            return None;
        }
    }
    (!tags.is_empty()).then_some(tags)
}

const SEPARATORS: [char; 3] = [' ', '\t', ','];

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_become_conditions() {
        let matches = |tags: &[&str]| Condition::Matches(tags.iter().map(|&tag| tag.to_owned()).collect());
        let cases = [
            (None, None, Condition::Always),
            (None, Some(" * "), Condition::Absent),
            (Some("*"), None, Condition::Present),
            (Some("\"a\""), None, matches(&["\"a\""])),
            (Some("\"a,b\" , W/\"c\""), None, matches(&["\"a,b\"", "W/\"c\""])),
            (Some(", \"\",\"\u{21}\""), None, matches(&["\"\"", "\"!\""])),
        ];
        for (if_match, if_none_match, condition) in cases {
            assert_eq!(of(if_match, if_none_match).unwrap(), condition, "{if_match:?} {if_none_match:?}");
        }
        let both = (Some("*"), Some("*"));
        let bad = ["", "a", "\"a", "a\"", "\"a\"\"b\"", "\"a\" \"b\"", "*, \"a\"", "\"a b\"", "w/\"a\""];
        for (if_match, if_none_match) in
            bad.iter().map(|&bad| (Some(bad), None)).chain([both, (None, Some("\"a\"")), (None, Some(""))])
        {
            let problem = of(if_match, if_none_match).unwrap_err();
            assert_eq!(problem.kind, Kind::BadRequest, "{if_match:?} {if_none_match:?}");
        }
    }

    #[test]
    fn a_list_may_be_several_headers() {
        let mut headers = HeaderMap::new();
        headers.append(header::IF_MATCH, HeaderValue::from_static("\"a\""));
        headers.append(header::IF_MATCH, HeaderValue::from_static("\"b\""));
        assert_eq!(of_headers(&headers).unwrap(), Condition::Matches(vec!["\"a\"".into(), "\"b\"".into()]));
        headers.append(header::IF_MATCH, HeaderValue::from_bytes(b"\"\xff\"").unwrap());
        assert!(of_headers(&headers).is_err());
    }

    #[test]
    fn a_reader_has_the_current_version_if_it_names_its_tag() {
        let has = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(value))]);
            has_current(&headers, "\"a\"")
        };
        assert!(has("\"a\"") && has("*") && has("W/\"a\"") && has("\"b\", \"a\""));
        assert!(!has("\"b\"") && !has("a") && !has("\"A\""));
        assert!(!has_current(&HeaderMap::new(), "\"a\""));
    }

    proptest! {
        #[test]
        fn any_list_is_read_or_rejected(list in "[a\"W/, \u{7f}é]{0,40}") {
            if let Some(tags) = tags(&list) {
                for tag in tags {
                    prop_assert!(tag.ends_with('"') && tag.matches('"').count() == 2, "{tag}");
                }
            }
        }

        #[test]
        fn written_tags_are_read_back(tags in proptest::collection::vec("\"[!#-~]{0,8}\"", 1..5)) {
            prop_assert_eq!(of(Some(&tags.join(", ")), None).unwrap(), Condition::Matches(tags));
        }
    }
}
