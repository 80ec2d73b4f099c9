//! Tickets as the server makes and reads them.

use ring::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce};
use rustls::server::ProducesTickets;

use super::{PERIOD, Tickets};

const HEAD: usize = 8 + NONCE_LEN;

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.keys.load().is_some()
    }

    fn lifetime(&self) -> u32 {
        2 * PERIOD as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys()?;
        let mut ticket = Vec::with_capacity(HEAD + plain.len() + AES_256_GCM.tag_len());
        ticket.extend(keys.period.to_le_bytes());
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        ticket.extend(nonce);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = keys.current[0].seal_in_place_separate_tag(nonce, Aad::empty(), &mut ticket[HEAD..]).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (period, rest) = ticket.split_first_chunk()?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        let keys = self.keys()?;
        keys.of(u64::from_le_bytes(*period)).find_map(|key| {
            let mut sealed = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let plain = key.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?.len();
            sealed.truncate(plain);
            Some(sealed)
        })
    }
}
