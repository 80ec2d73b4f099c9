//! The search itself: it finds what was planted, and nothing else.

use std::{fs, io::Write};

use super::{
    canary::{Canary, Cast},
    hashes,
    search::{Evidence, Medium, Search},
};

fn canary(address: &str) -> Canary {
    Canary { used_for: "a test".into(), address: address.parse().unwrap() }
}

/// The forms of 127.201.213.129 and of an IPv6 address, computed elsewhere.
const FORMS: [&str; 70] = [
    "127.201.213.129",
    "::ffff:127.201.213.129",
    "::ffff:7fc9:d581",
    "[::ffff:127.201.213.129]:4711",
    "129.213.201.127.in-addr.arpa",
    "ip-127-201-213-129.example",
    "7fc9d581",
    "0x7FC9D581",
    "81d5c97f",
    "00000000000000000000ffff7fc9d581",
    "7f:c9:d5:81",
    "7f c9 d5 81",
    "\\x7f\\xc9\\xd5\\x81",
    "[127, 201, 213, 129]",
    "[127,201,213,129]",
    "2143933825",
    "2178271615",
    "f8nVgQ==",
    "AAAAAAAAAAAAAP//f8nVgQ==",
    "AAAAAAAAAAAAAP__f8nVgQ",
    "be4c4c28630cbda0916f5a043517a0af",
    "29add868a0f27f61f494afa9def04423",
    "EC6BE768116FA5AADA650C516B0C4D35",
    "ef97c969b8f0708f4497b58a5dfa5d8571e5e3e5",
    "114de2db8086a140a0528e08d6a5e22127db20d7",
    "903b5ecfa70f8e6810fef6ae8f603a79c701eb0f",
    "35137a2966a6f83ccb5bdc1c5ffe4cfa538f2a0d69d3c368f5fcbe12d2f37b10",
    "85db3907b4bec3b67373b1d3717b234c6f8f58a4dd6931a6ceb1eefd36ca5779",
    "2cc5600220da6f60",
    "6f14e7b0",
    "1863641008",
    "ea9640f5",
    "3935715573",
    "2001:db8:cafe:f00d:dead:d5c1:abcd:8001",
    "2001:0db8:cafe:f00d:dead:d5c1:abcd:8001",
    "2001:DB8:CAFE:F00D:DEAD:D5C1:ABCD:8001",
    "[2001:db8:cafe:f00d:dead:d5c1:abcd:8001]:443",
    "20010db8cafef00ddeadd5c1abcd8001",
    "0180cdabc1d5adde0df0fecab80d0120",
    "20:01:0d:b8:ca:fe:f0:0d:de:ad:d5:c1:ab:cd:80:01",
    "42540766474106765622807082392689147905",
    "IAENuMr+8A3erdXBq82AAQ==",
    "IAENuMr-8A3erdXBq82AAQ",
    "2f41718f261951926750b5953c8baf1b",
    "b707d663cb122f77790b3718c51662e0",
    "fea44af8d9dd681ae615bec88d2b80ce068d9d93",
    "14d9a7dc751f2ce3bbee47486fb1c225ea8e328a296c1a9258c9ada3fcc4ee9b",
    "d6012741",
    "287ec752195f0511",
    "195171a608e0f15a",
    "a71bbe416e07ae62",
    "c696fdef247e6a35",
    "6af2ad3a7560906f",
    "AB7A8A0190D98052",
    "e28d09be6aa9afd3",
    "09e3903021818a73",
    "47b3b597ffc309e9",
    "f31d3c4d99f3a9ce",
    "6e6b373fdec4826e",
    "682c21e1fba62b02",
    "MTI3LjIwMS4yMTMuMTI5",
    "eDEyNy4yMDEuMjEzLjEyOSA=",
    "eHkxMjcuMjAxLjIxMy4xMjkg",
    "0177.0311.0325.0201",
    "0x7f.0xc9.0xd5.0x81",
    "%7F%C9%D5%81",
    "2001%3Adb8%3Acafe%3Af00d",
    "2001:db8:cafe:f00d::",
    "20010db8cafef00d",
    "IAENuMr+8A0",
];

#[test]
fn a_planted_canary_is_found_in_every_form_and_place() {
    let search = Search::new(&[canary("127.201.213.129"), canary("2001:db8:cafe:f00d:dead:d5c1:abcd:8001")]);
    let raw: [&[u8]; 3] = [
        &[127, 201, 213, 129],
        &[129, 213, 201, 127],
        &[0x20, 0x01, 0x0d, 0xb8, 0xca, 0xfe, 0xf0, 0x0d, 0xde, 0xad, 0xd5, 0xc1, 0xab, 0xcd, 0x80, 0x01],
    ];
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.flush().unwrap();
        let cut = encoder.get_ref().clone();
        (encoder.finish().unwrap(), cut)
    };
    for form in FORMS.map(str::as_bytes).into_iter().chain(raw) {
        let text = [b"{\"peer\":\"", form, b"\"}\n"].concat();
        let (whole, cut) = gzip(&text);
        let zstd = zstd::encode_all(&text[..], 3).unwrap();
        for (place, bytes) in [("log", &text), ("a.gz", &whole), ("cut.gz", &cut), ("a.zst", &zstd)] {
            let mut evidence = Evidence::default();
            evidence.add(place, &**bytes);
            assert!(!search.run(&evidence).is_empty(), "{} in {place}", form.escape_ascii());
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("below")).unwrap();
    fs::write(dir.path().join("below/127.201.213.129"), "2001:db8:cafe:f00d:dead:d5c1:abcd:8001").unwrap();
    let mut evidence = Evidence::default();
    evidence.add_folder("folder", dir.path());
    let places: Vec<_> = search.run(&evidence).into_iter().map(|find| find.place).collect();
    assert!(places.iter().any(|place| place.starts_with("a file's name")), "{places:?}");
    assert!(places.iter().any(|place| place == "folder/below/127.201.213.129"), "{places:?}");
}

#[test]
fn nothing_else_is_taken_for_a_canary() {
    let search = Search::new(&[canary("127.201.213.129")]);
    for text in ["127.201.213.12", "1127.201.213.129", "21439338255", "17fc9d581", "7fc9d581a", "127.201.213.1290"] {
        assert!(search.find("text", Medium::Plain, text.as_bytes()).is_empty(), "{text}");
    }
    // Four bytes are met by chance in what is compressed; not so its forms.
    assert!(search.find("noise", Medium::Noise, &[127, 201, 213, 129]).is_empty());
    assert!(!search.find("noise", Medium::Noise, b"127.201.213.129").is_empty());
}

#[test]
fn noise_holds_no_canary_by_chance() {
    let mut cast = Cast::default();
    for n in 0..20 {
        cast.client(&n.to_string());
        cast.v6(&n.to_string(), "named");
    }
    let search = Search::new(cast.all());
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let noise: Vec<u8> = (0..1 << 20).map(|_| random.u8(..)).collect();
    let hex: String = noise[..1 << 18].iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<_> =
        noise.chunks(8).map(|some| u64::from_le_bytes(some.try_into().unwrap()).to_string()).collect();
    let mut evidence = Evidence::default();
    evidence.add_noise("noise", noise);
    evidence.add("hex", hex);
    evidence.add("numbers", numbers.join(" "));
    super::search::assert_none(&search.run(&evidence));
}

/// What others have published of the hashes that are written here, or are seldom used.
#[test]
fn hashes_are_what_they_are_called() {
    for (hash, of, expected) in [
        ("FNV-1a 32", "foobar", "bf9cf968"),
        ("FNV-1a 64", "foobar", "85944171f73967e8"),
        ("MurmurHash3 32", "hello", "248bfa47"),
        ("MurmurHash3 x64 128", "hello", "cbd8a7b341bd9b025b1e906a48ae1d19"),
        ("MurmurHash3 x64 128", "The quick brown fox jumps over the lazy dog", "e34bbc7bbc071b6c7a433ca9c49a9347"),
        ("CRC32", "123456789", "cbf43926"),
        ("CRC32C", "123456789", "e3069283"),
        ("xxHash32", "", "02cc5d05"),
        ("xxHash64", "", "ef46db3751d8e999"),
        ("XXH3", "", "2d06800538d394c2"),
        ("SipHash-2-4", "", "1e924b9d737700d7"),
        ("SipHash-1-3", "", "d1fba762150c532c"),
    ] {
        let digest = hashes::all(of.as_bytes()).into_iter().find(|(name, _)| *name == hash).unwrap().1;
        assert_eq!(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>(), expected, "{hash}");
    }
}
