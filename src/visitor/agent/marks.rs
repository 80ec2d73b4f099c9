//! The marks of browsers, systems and devices in an agent string, found in one pass.
//!
//! Of the marks of one kind the first of the table wins, not the first in the string: applications come before the
//! engine that they embed, Windows Phone before the Android and the iPhone that it claims to be. Marks are
//! case-sensitive. A mark does not match right after a letter; right after a digit it does, as in
//! `Safari/537.36Snapchat/12.84`.

pub(super) mod browsers;
mod devices;
pub(super) mod systems;

use aho_corasick::{AhoCorasick, BuildError};
use once_cell::sync::OnceCell;

use self::{browsers::BROWSERS, devices::DEVICES, systems::SYSTEMS};
use crate::event::Device;

/// The marks of one agent string.
#[derive(Default)]
pub struct AgentMarks<'a> {
    pub browser: Option<BrowserMark<'a>>,
    /// Slug, and the string after the mark.
    pub os: Option<(&'static str, &'a str)>,
    pub device: Option<Device>,
}

pub struct BrowserMark<'a> {
    pub name: &'static str,
    /// The text before the version, when that is not the mark itself.
    pub version_mark: Option<&'static str>,
    /// The string after the mark.
    pub rest: &'a str,
}

/// Reads the marks of `agent`.
pub fn scan(agent: &str) -> AgentMarks<'_> {
    let (browsers, systems) = (BROWSERS.len(), SYSTEMS.len());
    // Per kind: the lowest place in the table so far, and the end of the match.
    let mut best = [(usize::MAX, 0); 3];
    let Ok(automaton) = automaton() else {
        return AgentMarks::default();
    };
    for found in automaton.find_overlapping_iter(agent) {
        let at = found.pattern().as_usize();
        let kind = usize::from(at >= browsers) + usize::from(at >= browsers + systems);
        if at < best[kind].0 && starts_a_word(agent.as_bytes(), found.start()) {
            best[kind] = (at, found.end());
        }
    }
    let [browser, os, device] = best;
    let rest = |end| agent.get(end..).unwrap_or_default();
    AgentMarks {
        browser: BROWSERS.get(browser.0).map(|&(_, name, version_mark)| BrowserMark {
            name,
            version_mark,
            rest: rest(browser.1),
        }),
        os: os.0.checked_sub(browsers).and_then(|at| SYSTEMS.get(at)).map(|&(_, name)| (name, rest(os.1))),
        device: device.0.checked_sub(browsers + systems).and_then(|at| DEVICES.get(at)).map(|&(_, device)| device),
    }
}

/// The marks as an automaton, compiled at the first call.
///
/// # Errors
/// When it does not compile, which [`warm_up`](super::warm_up) finds at the start.
pub fn automaton() -> Result<&'static AhoCorasick, BuildError> {
    static AUTOMATON: OnceCell<AhoCorasick> = OnceCell::new();
    AUTOMATON.get_or_try_init(|| {
        let browsers = BROWSERS.iter().map(|mark| mark.0);
        let systems = SYSTEMS.iter().map(|mark| mark.0);
        let devices = DEVICES.iter().map(|mark| mark.0);
        AhoCorasick::new(browsers.chain(systems).chain(devices))
    })
}

fn starts_a_word(agent: &[u8], start: usize) -> bool {
    let is_letter = |at| agent.get(at).is_some_and(u8::is_ascii_alphabetic);
    !(is_letter(start) && start.checked_sub(1).is_some_and(is_letter))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The work of a scan is a step a byte and one for each mark that ends there.
    #[test]
    fn no_string_of_marks_has_more_matches_than_bytes() {
        let automaton = automaton().unwrap();
        let marks = || BROWSERS.iter().map(|mark| mark.0).chain(SYSTEMS.iter().map(|mark| mark.0));
        for mark in marks().chain(DEVICES.iter().map(|mark| mark.0)) {
            let agent = mark.repeat(1_024 / mark.len());
            let matches = automaton.find_overlapping_iter(&agent).count();
            assert!(matches <= agent.len(), "{matches} in {} bytes of {mark}", agent.len());
        }
    }

    #[test]
    fn no_mark_comes_after_one_that_hides_it() {
        let hidden = |marks: &[&'static str]| {
            let is_hidden = |at: usize| marks[..at].iter().any(|earlier| marks[at].contains(earlier));
            (0..marks.len()).filter(|&at| is_hidden(at)).map(|at| marks[at]).collect::<Vec<_>>()
        };
        let of = |marks: Vec<&'static str>| hidden(&marks);
        assert_eq!(of(DEVICES.iter().map(|mark| mark.0).collect()), [""; 0]);
        assert_eq!(of(SYSTEMS.iter().map(|mark| mark.0).collect()), [""; 0]);
        assert_eq!(of(BROWSERS.iter().map(|mark| mark.0).collect()), [""; 0]);
    }
}
