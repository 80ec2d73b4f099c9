//! Versions as agent strings write them: `/125.0.6422.60`, ` 17_5_1`, `]/9.29.8963`, `_31.5.0`.

/// Longest version; a longer run of digits and dots does not count.
const MAX_BYTES: usize = 32;

/// The version right after the first `mark`.
pub fn after(agent: &str, mark: &str) -> Option<String> {
    agent.match_indices(mark).find_map(|(at, mark)| at_start(agent.get(at + mark.len()..)?))
}

/// The version that `rest` starts with, after at most three separators.
pub fn at(rest: &str) -> Option<String> {
    let separators = rest.bytes().take(3).take_while(|byte| b" /_-](:".contains(byte)).count();
    at_start(rest.get(separators..)?)
}

/// The version that `text` is, and nothing else.
pub fn whole(text: &str) -> Option<String> {
    at_start(text).filter(|version| version.len() == text.len())
}

fn at_start(rest: &str) -> Option<String> {
    let length = rest
        .bytes()
        .take(MAX_BYTES + 1)
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'_'))
        .count();
    let run = rest.get(..length).filter(|run| run.len() <= MAX_BYTES)?.trim_end_matches(['.', '_']);
    let is_version = run.starts_with(|c: char| c.is_ascii_digit());
    is_version.then(|| run.replace('_', "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_digits_and_dots() {
        assert_eq!(at("/125.0.6422.60 Safari").as_deref(), Some("125.0.6422.60"));
        assert_eq!(at("]/9.29.8963").as_deref(), Some("9.29.8963"));
        assert_eq!(at("_31.5.0_x").as_deref(), Some("31.5.0"));
        assert_eq!(after("CPU iPhone OS 17_5_1 like", " OS ").as_deref(), Some("17.5.1"));
    }

    #[test]
    fn a_mark_without_a_number_has_no_version() {
        assert_eq!(at("; wv)"), None);
        assert_eq!(at(""), None);
        assert_eq!(at("/.5"), None);
        assert_eq!(at(&format!("/{}", "1".repeat(33))), None);
        assert_eq!(after("iPhone", " OS "), None);
        assert_eq!(at("/١٢.٣"), None);
    }
}
