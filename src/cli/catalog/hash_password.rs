//! `clickedge catalog hash-password`: makes the `passwordHash` of a link.

use std::{
    io::{self, BufRead},
    process::ExitCode,
};

use zeroize::Zeroizing;

use crate::{
    cli::output::{failed, print},
    link::{page::form::MAX_BODY, password},
    runtime::Class,
};

pub(super) fn run() -> Result<ExitCode, ExitCode> {
    match hash_password(io::stdin().lock()) {
        Ok(hash) => print(&format!("{hash}\n")).map(|()| ExitCode::SUCCESS),
        Err(reason) => Err(failed(Class::Data, &reason)),
    }
}

fn hash_password(input: impl BufRead) -> Result<String, String> {
    let mut line = Zeroizing::new(String::with_capacity(MAX_BODY));
    input
        .take(MAX_BODY as u64)
        .read_line(&mut line)
        .map_err(|error| format!("the password cannot be read: {error}; write it as UTF-8"))?;
    let word = line.trim_end_matches(['\r', '\n']);
    // What does not fit into a form cannot be typed.
    if word.is_empty() || line.len() > MAX_BODY / 2 {
        return Err(format!("the password is empty, or longer than {} bytes", MAX_BODY / 2));
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| format!("there is no random salt: {error}"))?;
    password::hash(word.as_bytes(), &salt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::password::PasswordHash;

    #[test]
    fn the_hash_of_a_line_is_one_for_a_link() {
        let hash = hash_password(&b"open sesame\r\nmore\n"[..]).unwrap();
        let parsed = PasswordHash::parse(&hash).unwrap();
        assert!(parsed.verify(b"open sesame"));
        assert_ne!(hash_password(&b"open sesame"[..]).unwrap(), hash);
    }

    #[test]
    fn a_word_that_no_form_holds_is_rejected() {
        for input in ["", "\n", &"x".repeat(513)] {
            assert!(hash_password(input.as_bytes()).is_err(), "{input}");
        }
        assert!(hash_password(&b"\xff\n"[..]).unwrap_err().contains("UTF-8"));
    }
}
