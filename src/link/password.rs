//! The hash of a link's password: argon2 in the PHC form, with costs that an edge can bear.
//!
//! The hash is from the customer, and everyone who sends a form makes the edge compute it. So its costs are bounded
//! when the catalog loads: at most [`MAX_MEMORY_KIB`], [`MAX_PASSES`] and [`MAX_LANES`].

use argon2::{
    Algorithm, Argon2, Params,
    password_hash::{PasswordVerifier, phc},
};

/// Most memory of a hash, in KiB.
pub const MAX_MEMORY_KIB: u32 = 64 * 1024;

/// Most passes over the memory (`t`).
pub const MAX_PASSES: u32 = 10;

/// Most lanes (`p`).
pub const MAX_LANES: u32 = 4;

/// Shortest salt and result, in bytes: what is shorter can be guessed.
const MIN_BYTES: usize = 8;

const HOW: &str = "make one with `clickedge catalog hash-password`";

/// The hash of a password, checked.
#[derive(Clone, Eq, PartialEq)]
pub struct PasswordHash(Box<str>);

impl PasswordHash {
    /// Reads `passwordHash` of a link, such as `$argon2id$v=19$m=16384,t=3,p=1$…$…`.
    ///
    /// # Errors
    /// When it is no argon2 hash, or costs too much. The reason does not hold the hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let algorithm = text.strip_prefix('$').and_then(|rest| rest.split('$').next()).unwrap_or_default();
        if !matches!(algorithm, "argon2id" | "argon2i" | "argon2d") {
            // A word that is no algorithm could be the password itself.
            let known = ["2a", "2b", "2y", "1", "5", "6", "7", "y", "scrypt", "pbkdf2", "pbkdf2-sha256", "bcrypt"];
            let what = known.iter().find(|name| **name == algorithm);
            let what = what.map_or_else(|| "is no hash of argon2".into(), |name| format!("is a hash of `${name}$`"));
            return Err(format!("{what}; only argon2id, argon2i and argon2d are known: {HOW}"));
        }
        let malformed = || format!("is not in the form $argon2id$v=19$m=16384,t=3,p=1$SALT$HASH; {HOW}");
        let hash = phc::PasswordHash::new(text).map_err(|_| malformed())?;
        let version = hash.version.unwrap_or(19);
        let only_costs = hash.params.iter().all(|(name, _)| matches!(name.as_str(), "m" | "t" | "p"));
        if !matches!(version, 16 | 19) || !only_costs {
            return Err(malformed());
        }
        let params = Params::try_from(&hash).map_err(|_| malformed())?;
        for (name, cost, most) in [
            ("m", params.m_cost(), MAX_MEMORY_KIB),
            ("t", params.t_cost(), MAX_PASSES),
            ("p", params.p_cost(), MAX_LANES),
        ] {
            if cost > most {
                return Err(format!("has {name}={cost}, and an edge computes at most {name}={most}; {HOW}"));
            }
        }
        let lengths = [hash.salt.as_ref().map(|salt| salt.len()), hash.hash.as_ref().map(phc::Output::len)];
        if lengths.iter().any(|length| length.is_none_or(|bytes| bytes < MIN_BYTES)) {
            return Err(format!("has a salt or a result below {MIN_BYTES} bytes; {HOW}"));
        }
        Ok(Self(text.into()))
    }

    /// Whether this is the password. It takes the time and the memory that the hash demands: not for a thread that
    /// answers others.
    pub fn verify(&self, word: &[u8]) -> bool {
        let Ok(hash) = phc::PasswordHash::new(&self.0) else { return false };
        Argon2::default().verify_password(word, &hash).is_ok()
    }

    /// The hash in the PHC form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The hash of a password with the given salt, with argon2id and 16 MiB.
///
/// # Errors
/// When the salt is shorter than 8 or longer than 48 bytes.
pub fn hash(word: &[u8], salt: &[u8]) -> Result<String, String> {
    use argon2::password_hash::CustomizedPasswordHasher;

    let failed = |error: &dyn std::fmt::Display| format!("the password cannot be hashed: {error}");
    let params = Params::new(16 * 1024, 3, 1, None).map_err(|error| failed(&error))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params.clone());
    let hash = argon2.hash_password_with_params(word, salt, params).map_err(|error| failed(&error))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `open sesame`, with little memory.
    const HASH: &str = "$argon2id$v=19$m=256,t=1,p=1$c29tZSBzYWx0IGhlcmU$q7fIkvv0VnSu3xA5NZT7Qdf2xQSxJ+je0JUsVhl0XrU";

    fn error(text: &str) -> String {
        PasswordHash::parse(text).err().unwrap()
    }

    #[test]
    fn the_right_word_is_found_and_no_other() {
        let hash = PasswordHash::parse(HASH).unwrap();
        assert!(hash.verify(b"open sesame"));
        for word in ["", "open sesam", "open sesame ", "Open sesame"] {
            assert!(!hash.verify(word.as_bytes()), "{word}");
        }
    }

    #[test]
    fn a_hash_made_here_is_taken_here() {
        let made = hash(b"x", b"0123456789abcdef").unwrap();
        assert!(made.starts_with("$argon2id$v=19$m=16384,t=3,p=1$"), "{made}");
        assert!(PasswordHash::parse(&made).is_ok());
        assert!(hash(b"x", b"short").is_err());
    }

    #[test]
    fn other_algorithms_are_rejected_with_a_way_to_make_a_hash() {
        let bcrypt = error("$2b$12$EXRkfkdmXn2gzds2SSitu.MW9.gAVqa9eLS1//RYtYCmB1eLHg.9q");
        assert!(bcrypt.starts_with("is a hash of `$2b$`; only argon2id"), "{bcrypt}");
        assert!(bcrypt.ends_with("make one with `clickedge catalog hash-password`"));
        for text in ["", "secret", "$", "$secret$", "argon2id", "$argon2$x", "$Argon2id$v=19$m=8,t=1,p=1$x$y"] {
            let error = error(text);
            assert!(error.starts_with("is no hash of argon2; "), "{error}");
            assert!(!error.contains("secret"));
        }
    }

    #[test]
    fn costs_are_bounded() {
        let with = |costs: &str| HASH.replace("m=256,t=1,p=1", costs);
        assert!(PasswordHash::parse(&with("m=65536,t=10,p=4")).is_ok());
        assert!(PasswordHash::parse(&HASH.replace("argon2id", "argon2i")).is_ok());
        assert!(PasswordHash::parse(&HASH.replace("argon2id", "argon2d")).is_ok());
        assert!(error(&with("m=65537,t=1,p=1")).starts_with("has m=65537, and an edge computes at most m=65536"));
        assert!(error(&with("m=256,t=11,p=1")).starts_with("has t=11, "));
        assert!(error(&with("m=256,t=1,p=5")).starts_with("has p=5, "));
        for costs in ["m=256,t=0,p=1", "m=1,t=1,p=1", "m=256,t=1,p=1,keyid=Zm9v", "m=x", ""] {
            assert!(error(&with(costs)).starts_with("is not in the form"), "{costs}");
        }
        for text in [HASH.replace("v=19", "v=18"), HASH.rsplit_once('$').unwrap().0.to_owned(), format!("{HASH}$")] {
            error(&text);
        }
    }
}
