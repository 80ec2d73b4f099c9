//! Bounds the batches that are in memory, of all tokens and of each: one client that sends slowly keeps no other out.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::problem::{Kind, Problem};

/// Most batches whose bodies are read, or were read and are not answered yet: each may have 64 MiB in memory.
pub const MOST: usize = 16;

/// Most of them with the same token.
pub const MOST_OF_TOKEN: usize = MOST / 4;

/// The batches in memory, by name of their token.
#[derive(Default)]
pub struct Bodies(Mutex<BTreeMap<Box<str>, usize>>);

/// Room for one batch.
pub struct Room<'b> {
    bodies: &'b Bodies,
    token: Box<str>,
}

impl Bodies {
    /// Makes room for a batch with this token.
    ///
    /// # Errors
    /// When too many are in memory.
    pub fn admit(&self, token: &str) -> Result<Room<'_>, Problem> {
        let mut bodies = self.lock();
        let of_token = bodies.get(token).copied().unwrap_or_default();
        let busy = if of_token >= MOST_OF_TOKEN {
            Some(format!("{MOST_OF_TOKEN} batches of token {token:?}"))
        } else {
            (bodies.values().sum::<usize>() >= MOST).then(|| format!("{MOST} batches"))
        };
        if let Some(busy) = busy {
            let detail = format!("{busy} are being read or made; nothing has changed, try again later");
            return Err(Problem::new(Kind::Unavailable, detail));
        }
        bodies.insert(token.into(), of_token + 1);
        Ok(Room { bodies: self, token: token.into() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut bodies = self.bodies.lock();
        match bodies.get_mut(&self.token) {
            Some(number) if *number > 1 => *number -= 1,
            _ => _ = bodies.remove(&self.token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_quarter_of_the_room_and_all_together_have_the_whole() {
        let bodies = Bodies::default();
        let detail = |token: &str| bodies.admit(token).map(drop).unwrap_err().detail;
        let mut rooms: Vec<_> = (0..MOST_OF_TOKEN).map(|_| bodies.admit("one").unwrap()).collect();
        assert!(detail("one").contains("4 batches of token \"one\""), "{}", detail("one"));
        rooms.pop();
        rooms.push(bodies.admit("one").unwrap());
        for number in MOST_OF_TOKEN..MOST {
            rooms.push(bodies.admit(&format!("token-{}", number / MOST_OF_TOKEN)).unwrap());
        }
        assert!(detail("other").starts_with("16 batches are"), "{}", detail("other"));
        rooms.clear();
        assert!(bodies.lock().is_empty(), "nothing is left of tokens that have no batch");
    }
}
