//! The headers of an upload that follow from the object and the configuration.

use std::collections::BTreeMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::object::{ObjectKind, reader::Summary};

/// Metadata in which an object keeps its own SHA-256: `x-amz-meta-sha256`.
pub(super) const SHA256: &str = "sha256";

/// The type of the bytes as they are. There is no `Content-Encoding`: clients would decompress during the download,
/// and get something that matches neither the name nor the length nor the checksums.
pub(super) fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "gz" => "application/gzip",
        "zst" => "application/zstd",
        "ndjson" => "application/x-ndjson",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}

/// The value of the header `x-amz-tagging`.
pub(super) fn tagging(tags: &BTreeMap<String, String>) -> Option<String> {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<_> = tags.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// The object's `x-amz-meta-` headers.
pub(super) fn metadata(kind: ObjectKind, summary: &Summary) -> Vec<(&'static str, String)> {
    let mut metadata = vec![(SHA256, summary.sha256.clone())];
    if !kind.is_companion() {
        metadata.push(("count", summary.events.to_string()));
        metadata.push(("first", summary.first.clone()));
        metadata.push(("last", summary.last.clone()));
    }
    match kind {
        ObjectKind::Replay => metadata.push(("replay", "true".into())),
        ObjectKind::Test => metadata.push(("test", "true".into())),
        ObjectKind::Events | ObjectKind::Manifest | ObjectKind::Rollup => {}
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_follows_from_the_extension() {
        for (key, expected) in [
            ("dt=2026-11-23/hour=09/f-p-1.ndjson.gz", "application/gzip"),
            ("dt=2026-11-23/hour=09/f-p-1.json.zst", "application/zstd"),
            ("dt=2026-11-23/hour=09/f-p-1.ndjson", "application/x-ndjson"),
            ("dt=2026-11-23/hour=09/f-p-1.json", "application/json"),
            ("a.b/c", "application/octet-stream"),
        ] {
            assert_eq!(content_type(key), expected, "{key}");
        }
    }

    #[test]
    fn tags_are_encoded_for_the_header() {
        let tags = |tags: &[(&str, &str)]| {
            tagging(&tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(tags(&[]), None);
        assert_eq!(tags(&[("source", "clickedge")]).as_deref(), Some("source=clickedge"));
        assert_eq!(tags(&[("a b", "ü+"), ("c", "")]).as_deref(), Some("a%20b=%C3%BC%2B&c="));
    }

    #[test]
    fn metadata_describes_the_content_of_an_object() {
        let summary = Summary { events: 3, first: "a".into(), last: "c".into(), sha256: "d".into() };
        let of = |kind| {
            let pairs = metadata(kind, &summary);
            pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(ObjectKind::Events), "sha256=d count=3 first=a last=c");
        assert_eq!(of(ObjectKind::Replay), "sha256=d count=3 first=a last=c replay=true");
        assert_eq!(of(ObjectKind::Test), "sha256=d count=3 first=a last=c test=true");
        assert_eq!(of(ObjectKind::Manifest), "sha256=d");
        assert_eq!(of(ObjectKind::Rollup), "sha256=d");
    }
}
