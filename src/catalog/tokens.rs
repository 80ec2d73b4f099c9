//! Tokens of the admin listener: an operator file with a line for each.
//!
//! ```text
//! # name   SHA-256 of the token   workspaces, or * for all   right
//! deploy   9f86d081...            *
//! shop     60303ae2...            w-1,w-2                    write
//! report   fd61a03a...            w-1                        read
//! monitor  2c26b46b...            *                          read
//! oncall   fcde2b2e...            *                          admin
//! ```
//! The right is `write` where the line has none ([`Right`]).
//!
//! The file has hashes only, so that a reader of it cannot change links. A token has 256 random bits ([`generate`]): no
//! slow hash is needed. A token is compared with every line, in constant time: how long that takes depends on the
//! number of lines, and not on which one it is, if any.

use std::{collections::BTreeSet, fmt::Write, path::Path, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::files::{ListError, Reloadable, list};

/// Most lines of a file. A request is compared with each.
pub const MOST: usize = 4_096;

/// Longest name of a token, in bytes.
const MAX_NAME: usize = 64;

/// Beginning of a token, by which scanners for secrets recognize it.
const PREFIX: &str = "clickedge_";

/// Bytes of SHA-256.
const DIGEST: usize = 32;

/// What an operator does about a line that is rejected.
const REMEDY: &str = "write `NAME SHA256 WORKSPACE,...` or `NAME SHA256 *`, with `read`, `write` or, after `*`, `admin` \
                      behind it; `clickedge catalog token` prints such a line";

/// The current tokens; `None` if the configuration names no file.
pub type TokenStore = Reloadable<Option<Tokens>>;

/// The tokens of a file.
pub struct Tokens {
    digests: Vec<[u8; DIGEST]>,
    grants: Vec<Arc<Grant>>,
}

/// What a token may do.
#[derive(Debug, Eq, PartialEq)]
pub struct Grant {
    /// Name of the token, for the log.
    pub name: Box<str>,
    pub scope: Scope,
    pub right: Right,
}

/// What a token may do with what is in its scope. Each right includes those before it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Right {
    /// Read links and domains; with a scope of all workspaces also the state of the edge: metrics, counts, status.
    Read,
    /// Change links and domains.
    #[default]
    Write,
    /// Order the edge: retry a feed, reload. Only with a scope of all workspaces.
    Admin,
}

impl Right {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Links and domains of which workspaces a token sees.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Of all, and those of no workspace.
    All,
    /// Of these.
    Only(BTreeSet<Box<str>>),
}

impl Scope {
    /// Whether links of this workspace are seen. Its id is empty for links of no workspace.
    pub fn has(&self, workspace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(workspaces) => workspaces.contains(workspace),
        }
    }
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or a line is wrong.
    pub fn read(file: &Path) -> Result<Self, ListError> {
        Self::parse(file, &list::read(file)?)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, ListError> {
        let mut tokens = Self { digests: Vec::new(), grants: Vec::new() };
        for (number, entry) in list::lines(text) {
            let (digest, grant) = line(entry).map_err(|problem| ListError::line(file, number, problem, REMEDY))?;
            if tokens.grants.iter().any(|other| other.name == grant.name) {
                let problem = format!("an earlier line has the name {:?}", grant.name);
                return Err(ListError::line(file, number, problem, "give each token a name of its own"));
            }
            if tokens.digests.contains(&digest) {
                let problem = "an earlier line has the same token";
                return Err(ListError::line(file, number, problem, "remove one of the lines"));
            }
            if tokens.grants.len() == MOST {
                let problem = format!("the file has more than {MOST} tokens");
                return Err(ListError::line(file, number, problem, "remove unused tokens"));
            }
            tokens.digests.push(digest);
            tokens.grants.push(Arc::new(grant));
        }
        Ok(tokens)
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// What a token may do; `None` if it is unknown.
    pub fn find(&self, token: &[u8]) -> Option<Arc<Grant>> {
        let digest: [u8; DIGEST] = Sha256::digest(token).into();
        let (mut found, mut at) = (Choice::from(0), 0_u32);
        for (number, known) in (0..).zip(&self.digests) {
            let is_it = known.ct_eq(&digest);
            at.conditional_assign(&number, is_it);
            found |= is_it;
        }
        bool::from(found).then(|| self.grants.get(at as usize).map(Arc::clone)).flatten()
    }
}

/// A new token.
///
/// # Errors
/// When the operating system has no random bytes.
pub fn generate() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    Ok(Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*bytes))))
}

/// The line of a token in the file.
///
/// # Errors
/// When the name or a workspace cannot stand in it. The text names the value and the remedy.
pub fn line_of(token: &str, name: &str, workspaces: &[String], right: Right) -> Result<String, String> {
    let hash = Sha256::digest(token).iter().fold(String::new(), |mut hash, byte| {
        // Writing to a text cannot fail.
        _ = write!(hash, "{byte:02x}");
        hash
    });
    let scope = if workspaces.is_empty() { "*".to_owned() } else { workspaces.join(",") };
    let right = if right == Right::default() { String::new() } else { format!(" {}", right.name()) };
    let written = format!("{name} {hash} {scope}{right}");
    if !is_name(name) {
        return Err(bad_name(name));
    }
    // A workspace with a comma would be two.
    match workspaces.iter().find(|id| !is_workspace(id)) {
        Some(id) => Err(bad_workspace(id)),
        None => line(&written).map(|_| written),
    }
}

/// Reads a line. Its texts are not quoted: one of them may be a token that should be a hash.
fn line(entry: &str) -> Result<([u8; DIGEST], Grant), String> {
    let mut words = entry.split_whitespace();
    let (Some(name), Some(hash), Some(workspaces)) = (words.next(), words.next(), words.next()) else {
        return Err("the line has less than a name, a hash and workspaces".into());
    };
    if !is_name(name) {
        return Err(bad_name(name));
    }
    let digest = digest(hash).ok_or("the second word is not a SHA-256 in 64 hexadecimal digits")?;
    let scope = match workspaces {
        "*" => Scope::All,
        ids => match ids.split(',').find(|id| !is_workspace(id)) {
            Some(id) => return Err(bad_workspace(id)),
            None => Scope::Only(ids.split(',').map(Into::into).collect()),
        },
    };
    let right = match words.next() {
        None => Right::default(),
        Some(word) => {
            let right = Right::ALL.into_iter().find(|right| right.name() == word);
            right.ok_or("the fourth word is not `read`, `write` or `admin`")?
        }
    };
    if right == Right::Admin && scope != Scope::All {
        return Err("the right `admin` is for all workspaces, `*`, and the line has others".into());
    }
    match words.next() {
        None => Ok((digest, Grant { name: name.into(), scope, right })),
        Some(_) => Err("the line has more than four words".into()),
    }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(PREFIX)
        && digest(name).is_none()
}

fn bad_name(name: &str) -> String {
    if name.starts_with(PREFIX) || name.len() > MAX_NAME || digest(name).is_some() {
        return format!("the name is a token or a hash, or longer than {MAX_NAME} bytes");
    }
    format!("the name {name:?} has other characters than letters, digits and `-_.@`")
}

fn is_workspace(id: &str) -> bool {
    !id.is_empty()
        && id != "*"
        && !id.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '#'))
}

fn bad_workspace(id: &str) -> String {
    format!("the workspace {id:?} is empty, is `*` among others, or has a space, a comma or `#`")
}

fn digest(hex: &str) -> Option<[u8; DIGEST]> {
    if hex.len() != 2 * DIGEST {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut digest = [0; DIGEST];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Tokens, String> {
        Tokens::parse(Path::new("/etc/tokens"), text).map_err(|error| error.to_string())
    }

    fn made(name: &str, workspaces: &[&str], right: Right) -> (String, String) {
        let token = generate().unwrap();
        let workspaces: Vec<_> = workspaces.iter().map(|&id| id.to_owned()).collect();
        (token.to_string(), line_of(&token, name, &workspaces, right).unwrap())
    }

    #[test]
    fn a_token_has_the_rights_of_its_line() {
        let ((deploy, first), (shop, second)) =
            (made("deploy", &[], Right::Write), made("shop", &["w-1", "w-2"], Right::Write));
        let ((report, third), (oncall, fourth)) =
            (made("report", &["w-1"], Right::Read), made("oncall", &[], Right::Admin));
        let text = format!("# tokens\n{first}\n\n{second} write # the shop\r\n  {third}\n{fourth}");
        let tokens = parse(&text).unwrap();
        assert_eq!(tokens.len(), 4);
        let deploy = tokens.find(deploy.as_bytes()).unwrap();
        assert_eq!((&*deploy.name, &deploy.scope, deploy.right), ("deploy", &Scope::All, Right::Write));
        assert!(deploy.scope.has("w-9") && deploy.scope.has(""));
        let shop = tokens.find(shop.as_bytes()).unwrap();
        assert!(shop.right == Right::Write && shop.scope.has("w-1") && shop.scope.has("w-2"));
        assert!(!shop.scope.has("w-3") && !shop.scope.has(""));
        assert_eq!(tokens.find(report.as_bytes()).unwrap().right, Right::Read);
        assert_eq!(tokens.find(oncall.as_bytes()).unwrap().right, Right::Admin);
        for unknown in ["", "clickedge_", &report[..report.len() - 1], &first] {
            assert!(tokens.find(unknown.as_bytes()).is_none(), "{unknown}");
        }
    }

    #[test]
    fn tokens_are_long_and_differ() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_ne!(*one, *two);
        assert!(one.len() == PREFIX.len() + 43 && one.starts_with(PREFIX), "{}", *one);
    }

    #[test]
    fn the_well_known_hash_is_accepted_in_any_case() {
        let hash = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08";
        let tokens = parse(&format!("test {hash} *")).unwrap();
        assert!(tokens.find(b"test").is_some());
    }

    #[test]
    fn a_wrong_line_is_rejected_with_its_number_and_quotes_no_token() {
        let (token, good) = made("deploy", &[], Right::Write);
        let hash = good.split(' ').nth(1).unwrap();
        let wrong = [
            ("deploy", "less than a name"),
            (&format!("deploy {hash}"), "less than a name"),
            (&format!("deploy {token} *"), "64 hexadecimal digits"),
            (&format!("{token} {hash} *"), "is a token or a hash"),
            (&format!("{hash} {hash} *"), "is a token or a hash"),
            (&format!("de/ploy {hash} *"), "has other characters"),
            (&format!("deploy {hash} w-1,"), "the workspace"),
            (&format!("deploy {hash} w-1,*"), "the workspace"),
            (&format!("deploy {hash} * writes"), "not `read`, `write` or `admin`"),
            (&format!("deploy {hash} w-1 admin"), "for all workspaces"),
            (&format!("deploy {hash} * read more"), "more than four"),
            (&format!("deploy {hash} *\ndeploy {} *", "0".repeat(64)), "the name \"deploy\""),
            (&format!("deploy {hash} *\nother {hash} *"), "the same token"),
        ];
        for (text, problem) in wrong {
            let error = parse(&format!("# head\n{text}\n")).map(drop).unwrap_err();
            assert!(error.contains("/etc/tokens, line "), "{error}");
            assert!(error.contains(problem), "{text}: {error}");
            assert!(!error.contains(&token), "{error}");
        }
    }

    #[test]
    fn names_and_workspaces_that_no_line_can_have_are_rejected() {
        let line = |name: &str, id: &str| line_of("t", name, &[id.to_owned()], Right::Write);
        assert!(line_of("t", "oncall", &["w-1".to_owned()], Right::Admin).is_err());
        assert!(line("deploy", "w-1").is_ok());
        for (name, id) in [("", "w"), ("a b", "w"), ("#", "w"), ("deploy", ""), ("deploy", "a,b"), ("deploy", "a b")]
        {
            assert!(line(name, id).is_err(), "{name:?} {id:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_rejected(text in "[a-f0-9*,# \n]{0,200}|\\PC{0,80}") {
            _ = parse(&text);
        }
    }
}
