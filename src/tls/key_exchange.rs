//! Key exchange: X25519 and its hybrid with ML-KEM-768, computed by AWS-LC, and random numbers.
//!
//! A full handshake is mostly an X25519 exchange and a signature. AWS-LC's X25519 takes half of the time of ring's, its
//! signatures take the same; so everything else stays with ring (`bench/README.md`). The hybrid holds as long as one
//! of its two parts does, so that what is recorded today stays secret when X25519 falls: draft-ietf-tls-ecdhe-mlkem.

use aws_lc_rs::{
    agreement::{self, PrivateKey, UnparsedPublicKey},
    error::Unspecified,
    kem::{EncapsulationKey, ML_KEM_768},
};
use rustls::{
    Error, NamedGroup, PeerMisbehaved, ProtocolVersion,
    crypto::{
        ActiveKeyExchange, CompletedKeyExchange, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
        ring::kx_group::{SECP256R1, SECP384R1},
    },
};
use zeroize::Zeroizing;

use crate::config::KeyExchange;

/// Bytes of a public key of ML-KEM-768.
const ML_KEM_KEY: usize = 1_184;

/// The groups that a server offers, in its order.
pub fn groups(wanted: &[KeyExchange]) -> Vec<&'static dyn SupportedKxGroup> {
    let group = |wanted: &KeyExchange| -> &'static dyn SupportedKxGroup {
        match wanted {
            KeyExchange::X25519 => &X25519,
            KeyExchange::X25519Mlkem768 => &X25519Mlkem768,
            KeyExchange::Secp256r1 => SECP256R1,
            KeyExchange::Secp384r1 => SECP384R1,
        }
    };
    wanted.iter().map(group).collect()
}

/// Random numbers of AWS-LC, which asks the system for a seed now and then. A handshake needs five of them, and ring
/// makes a system call for each.
#[derive(Debug)]
pub struct Random;

impl SecureRandom for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        aws_lc_rs::rand::fill(bytes).map_err(|_| GetRandomFailed)
    }
}

#[derive(Debug)]
struct X25519;

/// An exchange that waits for the key of the client.
struct Exchange {
    private: PrivateKey,
    public: agreement::PublicKey,
}

impl Exchange {
    fn begin() -> Result<Self, Error> {
        let begin = || {
            let private = PrivateKey::generate(&agreement::X25519)?;
            let public = private.compute_public_key()?;
            Ok(Self { private, public })
        };
        begin().map_err(|_: Unspecified| GetRandomFailed.into())
    }

    fn shared(&self, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let peer = UnparsedPublicKey::new(&agreement::X25519, peer);
        agreement::agree(&self.private, peer, invalid(), |secret| Ok(Zeroizing::new(secret.to_vec())))
    }
}

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Exchange::begin()?))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        Ok(SharedSecret::from(&self.shared(peer)?[..]))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// The server's side of it: the client brings a public key of ML-KEM and one of X25519, and gets a ciphertext and a
/// public key.
#[derive(Debug)]
struct X25519Mlkem768;

impl SupportedKxGroup for X25519Mlkem768 {
    /// Servers never begin an exchange of TLS 1.3.
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Err(Error::General("a server completes an exchange".into()))
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (kem, x25519) = peer.split_at_checked(ML_KEM_KEY).ok_or_else(invalid)?;
        let exchange = Exchange::begin()?;
        let key = EncapsulationKey::new(&ML_KEM_768, kem).map_err(|_| invalid())?;
        let (ciphertext, kem_secret) = key.encapsulate().map_err(|_| invalid())?;
        let mut secret = Zeroizing::new(kem_secret.as_ref().to_vec());
        secret.extend_from_slice(&exchange.shared(x25519)?);
        let pub_key = [ciphertext.as_ref(), exchange.public.as_ref()].concat();
        Ok(CompletedKeyExchange { group: self.name(), pub_key, secret: SharedSecret::from(&secret[..]) })
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

fn invalid() -> Error {
    PeerMisbehaved::InvalidKeyShare.into()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::kem::DecapsulationKey;

    use super::*;

    #[test]
    fn both_sides_of_x25519_have_one_secret_and_ring_is_compatible() {
        let ours = X25519.start().unwrap();
        let theirs = rustls::crypto::ring::kx_group::X25519.start().unwrap();
        let (our_key, their_key) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        let secret = ours.complete(&their_key).unwrap();
        assert_eq!(secret.secret_bytes(), theirs.complete(&our_key).unwrap().secret_bytes());
        assert_eq!(secret.secret_bytes().len(), 32);
    }

    #[test]
    fn both_sides_of_the_hybrid_have_one_secret() {
        let (kem, exchange) = (DecapsulationKey::generate(&ML_KEM_768).unwrap(), Exchange::begin().unwrap());
        let kem_key = kem.encapsulation_key().unwrap().key_bytes().unwrap();
        let share = [kem_key.as_ref(), exchange.public.as_ref()].concat();
        assert_eq!(share.len(), ML_KEM_KEY + 32);
        let done = X25519Mlkem768.start_and_complete(&share).unwrap();
        let (ciphertext, key) = done.pub_key.split_at(1_088);
        let kem_secret = kem.decapsulate(ciphertext.into()).unwrap();
        let secret = [kem_secret.as_ref(), &exchange.shared(key).unwrap()].concat();
        assert_eq!(done.secret.secret_bytes(), secret);
    }

    #[test]
    fn a_bad_share_is_the_clients_error() {
        let rejected = |group: &dyn SupportedKxGroup, share: &[u8]| {
            let error = group.start_and_complete(share).err().unwrap();
            assert!(matches!(error, Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare)), "{error:?}");
        };
        for share in [&[][..], &[1; 31], &[1; 33], &[0; 32]] {
            rejected(&X25519, share);
        }
        for share in [&[][..], &[1; ML_KEM_KEY], &[0xff; ML_KEM_KEY + 32], &[0; ML_KEM_KEY + 33]] {
            rejected(&X25519Mlkem768, share);
        }
    }
}
