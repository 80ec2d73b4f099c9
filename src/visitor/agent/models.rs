//! The device by the name of its model, where no mark names it: thousands of makes of televisions and tablets run
//! Android, and most name the model after what it is.
//!
//! The words of the platform, the first parentheses of an agent string, are read: `(Linux; Android 9; TV BOX X3)`. The
//! words were chosen over lists of strings; `bench/README.md` has their accuracy.

use crate::event::Device;

/// Bytes of the platform that are read; no maker needs more.
const MAX_BYTES: usize = 256;

/// The device by the name of its model.
pub fn device(agent: &str) -> Option<Device> {
    let (_, rest) = agent.split_once('(')?;
    let rest = rest.get(..rest.floor_char_boundary(MAX_BYTES))?;
    // Models have parentheses in their names, too.
    let platform = rest.split_once(") ").map_or(rest, |(platform, _)| platform);
    let words = platform.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    // Of several words the lowest order wins: a SHIELD is a television, a SHIELD Tablet is a tablet.
    words.filter_map(by_word).min_by_key(|(order, _)| *order).map(|(_, device)| device)
}

fn by_word(word: &str) -> Option<(u8, Device)> {
    match word {
        _ if is_tablet(word) => Some((0, Device::Tablet)),
        _ if is_tv(word) => Some((1, Device::Tv)),
        "Watch" | "Glass" => Some((2, Device::Wearable)),
        "Chromebook" => Some((3, Device::Pc)),
        _ => None,
    }
}

fn is_tablet(word: &str) -> bool {
    let is_fire = word.strip_prefix("KF").is_some_and(|model| model.len() >= 2 && model.bytes().all(is_upper));
    let named = ["Tab", "TAB", "tab", "Tablet", "TABLET", "tablet", "Slate"].contains(&word);
    // Huawei's tablets without a telephone: `AGS3-W09`.
    let wireless = ["W09", "W19", "BTV"].contains(&word);
    let pad = word.len() >= 3 && ["Pad", "PAD"].iter().any(|end| word.ends_with(end));
    is_fire || named || wireless || pad || numbered(word, "TB", 3) || numbered(word, "MID", 3)
}

fn is_tv(word: &str) -> bool {
    // `TV`, `TVBOX`, `SmartTV`, `BRAVIA` is a mark.
    let named = ["tv", "Tv", "4K", "STB", "Shell", "Box", "BOX", "box", "SHIELD", "Chromecast", "UHD", "MXQ"];
    let ends = word.ends_with("TV") || word.ends_with("BOX") || word.ends_with("Box");
    named.contains(&word) || ends || word.starts_with("TV") || numbered(word, "LED", 2) || is_box(word)
}

/// Boxes that are named by a number alone.
fn is_box(word: &str) -> bool {
    [("X", "96"), ("A", "95X"), ("H", "96"), ("TX", "3"), ("TX", "6"), ("T", "95")]
        .iter()
        .any(|(make, model)| word.strip_prefix(make).is_some_and(|rest| rest.starts_with(model)))
}

/// `make` and at least so many digits right after it.
fn numbered(word: &str, make: &str, digits: usize) -> bool {
    let rest = word.strip_prefix(make).map(str::as_bytes);
    rest.is_some_and(|rest| rest.iter().take_while(|byte| byte.is_ascii_digit()).count() >= digits)
}

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_names_its_device() {
        let of = |model: &str| device(&format!("Mozilla/5.0 (Linux; Android 11; {model}) AppleWebKit/537.36"));
        for tablet in ["KFMAWI", "Redmi Pad SE", "Galaxy Tab A", "AGS3-W09", "LenovoPAD", "TB310FU", "SHIELD Tablet"]
        {
            assert_eq!(of(tablet), Some(Device::Tablet), "{tablet}");
        }
        for tv in
            ["SHIELD", "Chromecast HD", "TV BOX", "Smart Box", "LED43SX", "TVBOX", "X96mini", "JVC Shell 50", "4K"]
        {
            assert_eq!(of(tv), Some(Device::Tv), "{tv}");
        }
        assert_eq!(of("TicWatch"), None);
        assert_eq!(of("Pixel Watch"), Some(Device::Wearable));
        assert_eq!(of("Acer Chromebook 14"), Some(Device::Pc));
        for other in ["Pixel 8 Pro", "K", "moto g(30)", "CUBOT NOTE 20", "SM-S918B", "Table", "", "Ledger", "Xbox"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_platform_is_read() {
        assert_eq!(
            device("Mozilla/5.0 (Linux; Android 14; K) AppleWebKit/537.36 (KHTML, like Gecko) Pluto TV"),
            None
        );
        assert_eq!(device("TV"), None);
        assert_eq!(device("(TV"), Some(Device::Tv));
    }
}
