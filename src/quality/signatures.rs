//! Detects attacks in what a visitor sends.
//!
//! Every field is scanned as it is, and again percent-decoded when that makes a difference, by one automaton for all
//! rules, unless the [`prefilter`] shows that there is nothing to find. The decoded text has `+` and every run of white
//! space as one space. The work is linear in the input, and bounded by [`MAX_SCAN`]. A clean click allocates nothing:
//! decoded text goes into a buffer that its thread keeps.

mod prefilter;
mod rules;

use std::cell::RefCell;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError};
use once_cell::sync::OnceCell;

pub(super) use self::rules::{Field, RULES};
use self::{
    prefilter::Prefilter,
    rules::{Check, Rule},
};
use super::Findings;
use crate::event::query;

/// Bytes of a field that are scanned; of a longer field only the beginning counts.
pub(super) const MAX_SCAN: usize = 8192;

/// Bytes after the opening of a template that are searched for a multiplication.
const MAX_LOOK_AHEAD: usize = 16;

/// Every needle of [`RULES`], and the rule that each belongs to.
struct Scanner {
    automaton: AhoCorasick,
    rules: Vec<&'static Rule>,
    /// For addresses. Agents have other needles, too, and are cached.
    prefilter: Prefilter,
}

impl Scanner {
    fn compile() -> Result<Self, BuildError> {
        let needles = || RULES.iter().flat_map(|rule| rule.needles.iter().map(move |needle| (rule, needle)));
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(needles().map(|(_, needle)| needle))?;
        let rules = needles().map(|(rule, _)| rule).collect();
        Ok(Self { automaton, rules, prefilter: Prefilter::new(address_needles()) })
    }
}

/// The scanner, compiled at the first call. An error is found at the start by [`warm_up`].
fn scanner() -> Result<&'static Scanner, BuildError> {
    static SCANNER: OnceCell<Scanner> = OnceCell::new();
    SCANNER.get_or_try_init(Scanner::compile)
}

fn address_needles() -> impl Iterator<Item = &'static str> {
    let rules = RULES.iter().filter(|rule| rule.fields.is_none_or(|field| field == Field::Address));
    rules.flat_map(|rule| rule.needles).copied()
}

thread_local! {
    /// Decoded text, at most [`MAX_SCAN`] bytes.
    static DECODED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(MAX_SCAN));
}

/// Compiles the scanner, so that no click waits for it.
///
/// # Errors
/// When the rules do not compile: a bug.
pub(super) fn warm_up() -> Result<(), BuildError> {
    scanner().map(drop)
}

/// How many needles the automaton looks for.
#[cfg(test)]
pub(super) fn needles() -> usize {
    scanner().map_or(0, |scanner| scanner.rules.len())
}

pub(super) fn scan(text: &[u8], field: Field, findings: &mut Findings) {
    let text = text.get(..MAX_SCAN).unwrap_or(text);
    search(text, field, findings);

    // In an agent a `+` precedes the URL of a crawler, and is no space.
    let is_encoded = match field {
        Field::Address => memchr::memchr2(b'%', b'+', text).is_some(),
        Field::Agent => memchr::memchr(b'%', text).is_some(),
    };
    if is_encoded {
        DECODED.with_borrow_mut(|plain| {
            plain.clear();
            for byte in query::decoded(text) {
                if !is_space(byte) {
                    plain.push(byte);
                } else if plain.last() != Some(&b' ') {
                    plain.push(b' ');
                }
            }
            search(plain, field, findings);
        });
    }
}

fn search(text: &[u8], field: Field, findings: &mut Findings) {
    let Ok(scanner) = scanner() else { return };
    // Nearly every text holds no needle: an agent is searched for the first before it is searched for all.
    let may_hold = match field {
        Field::Address => scanner.prefilter.may_hold(text),
        Field::Agent => scanner.automaton.is_match(text),
    };
    if !may_hold {
        return;
    }
    for found in scanner.automaton.find_overlapping_iter(text) {
        if let Some(rule) = scanner.rules.get(found.pattern().as_usize())
            && rule.fields.is_none_or(|only| only == field)
            && holds(rule.check, text, found.start(), found.end())
        {
            findings.add(rule.reason, rule.confidence);
        }
    }
}

fn holds(check: Check, text: &[u8], start: usize, end: usize) -> bool {
    let before = start.checked_sub(1).and_then(|at| text.get(at)).copied();
    let after = text.get(end).copied();
    let is_alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    match check {
        Check::Always => true,
        Check::Word => !is_alphanumeric(before) && !is_alphanumeric(after),
        Check::Segment => !is_alphanumeric(before) && before != Some(b'.'),
        Check::Digit => after.is_some_and(|byte| byte.is_ascii_digit()),
        Check::Multiplication => {
            text.get(end..).is_some_and(|rest| is_multiplication(rest.get(..MAX_LOOK_AHEAD).unwrap_or(rest)))
        }
    }
}

/// `7*7}}`, ` 7 * '7'`: the product reveals a template engine.
///
/// `{{1}}` and `{{2026-11-23}}` are merge tags.
fn is_multiplication(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some(rest) = text[digits..].trim_ascii_start().strip_prefix(b"*") else {
        return false;
    };
    let factor = rest.trim_ascii_start().first();
    digits > 0 && factor.is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'\'' | b'"'))
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}
