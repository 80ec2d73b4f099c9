//! Hashes without a key: they reveal an address as surely as its text does, as all addresses can be tried.

use std::hash::Hasher;

use blake2::{Blake2b512, Blake2s256, digest::consts::U32};
use md5::Md5;
use s3s::crypto::{Checksum, Crc32};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use sha3::Sha3_256;
use siphasher::sip::{SipHasher13, SipHasher24};
use twox_hash::{XxHash3_64, XxHash32, XxHash64};

/// Every hash of some bytes, by name: 4, 8 or more bytes, numbers with their highest byte first.
pub fn all(of: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("MD5", digest::<Md5>(of)),
        ("SHA-1", digest::<Sha1>(of)),
        ("SHA-224", digest::<Sha224>(of)),
        ("SHA-256", digest::<Sha256>(of)),
        ("SHA-384", digest::<Sha384>(of)),
        ("SHA-512", digest::<Sha512>(of)),
        ("SHA3-256", digest::<Sha3_256>(of)),
        ("BLAKE2b-256", digest::<blake2::Blake2b<U32>>(of)),
        ("BLAKE2b-512", digest::<Blake2b512>(of)),
        ("BLAKE2s-256", digest::<Blake2s256>(of)),
        ("BLAKE3", blake3::hash(of).as_bytes().to_vec()),
        ("MurmurHash3 x64 128", murmur3_128(of).to_vec()),
        ("xxHash64", XxHash64::oneshot(0, of).to_be_bytes().to_vec()),
        ("XXH3", XxHash3_64::oneshot(of).to_be_bytes().to_vec()),
        ("FNV-1a 64", fnv1a_64(of).to_be_bytes().to_vec()),
        ("SipHash-1-3", sip(SipHasher13::new(), of)),
        ("SipHash-2-4", sip(SipHasher24::new(), of)),
        ("xxHash32", XxHash32::oneshot(0, of).to_be_bytes().to_vec()),
        ("FNV-1a 32", fnv1a_32(of).to_be_bytes().to_vec()),
        ("MurmurHash3 32", murmur3_32(of).to_be_bytes().to_vec()),
        ("CRC32", crc32(of)),
        ("CRC32C", crc_fast::crc32_iscsi(of).to_be_bytes().to_vec()),
    ]
}

fn digest<D: Digest>(of: &[u8]) -> Vec<u8> {
    D::digest(of).to_vec()
}

fn crc32(of: &[u8]) -> Vec<u8> {
    let mut crc = Crc32::new();
    crc.update(of);
    crc.finalize().as_ref().to_vec()
}

/// With the key that a program has that asks for none.
fn sip(mut hasher: impl Hasher, of: &[u8]) -> Vec<u8> {
    hasher.write(of);
    hasher.finish().to_be_bytes().to_vec()
}

fn fnv1a_64(of: &[u8]) -> u64 {
    of.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn fnv1a_32(of: &[u8]) -> u32 {
    of.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn murmur3_32(of: &[u8]) -> u32 {
    let scramble = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = 0_u32;
    for chunk in of.chunks(4) {
        let k = chunk.iter().rev().fold(0, |k, byte| k << 8 | u32::from(*byte));
        hash ^= scramble(k);
        if chunk.len() == 4 {
            hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
        }
    }
    hash ^= of.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

fn murmur3_128(of: &[u8]) -> [u8; 16] {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |k, byte| k << 8 | u64::from(*byte));
    let (mut first, mut second) = (0_u64, 0_u64);
    for chunk in of.chunks(16) {
        let (low, high) = chunk.split_at(chunk.len().min(8));
        first ^= word(low).wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
        if chunk.len() == 16 {
            first = first.rotate_left(27).wrapping_add(second).wrapping_mul(5).wrapping_add(0x52dc_e729);
        }
        second ^= word(high).wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
        if chunk.len() == 16 {
            second = second.rotate_left(31).wrapping_add(first).wrapping_mul(5).wrapping_add(0x3849_5ab5);
        }
    }
    let finish = |mut k: u64| {
        k = (k ^ k >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        k = (k ^ k >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        k ^ k >> 33
    };
    (first, second) = (first ^ of.len() as u64, second ^ of.len() as u64);
    first = first.wrapping_add(second);
    second = second.wrapping_add(first);
    (first, second) = (finish(first), finish(second));
    first = first.wrapping_add(second);
    second = second.wrapping_add(first);
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&first.to_be_bytes());
    hash[8..].copy_from_slice(&second.to_be_bytes());
    hash
}
