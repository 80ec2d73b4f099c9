//! Agent facts from the rest of the request: user agent client hints (W3C, "User-Agent Client Hints"; the headers
//! `Sec-CH-UA*`), and the package name that Android's web view sends as `X-Requested-With`.
//!
//! The string is frozen where the hints are not: Brave and Vivaldi say Chrome, Windows 11 says `Windows NT 10.0`, every
//! Android says `10; K`. So the hints are laid over the facts of the string:
//!
//! - An application or a browser that the string names stays; Chrome, Safari, Firefox and an unnamed web view are
//!   replaced by the brand of the hints. No page can set these headers: where they and the string name different
//!   engines, the string is the false one.
//! - A system that only the string knows (a television's, a console's, `HarmonyOS`) stays; the others are replaced.
//! - Versions come from the hints when they are more precise.
//! - A form factor decides the device; `Sec-CH-UA-Mobile` only where the system came from the hints as well.
//! - A known package name (`hints/packages.rs`) names the application around a web view; any other one at least shows
//!   that it is a web view, and not Chrome.
//! - Bots stay as they are.
//!
//! Hints are structured fields (RFC 9651). One that is malformed, or longer than [`MAX_HINT_BYTES`], is ignored as a
//! whole, and so are unknown brands, above all those that are sent to keep servers from relying on the list
//! (`"Not.A/Brand"`). Any bytes are read without panic, in one pass.

mod cache;
mod fields;
mod packages;

use std::borrow::Cow;

pub use self::cache::HintCache;
use self::packages::PACKAGES;
use super::{AgentFacts, WINDOWS, version};
use crate::{
    click::{Facts, Flags},
    event::{AgentText, Device, Named},
};

/// Longest hint that is read; no browser sends a longer one.
pub const MAX_HINT_BYTES: usize = 512;

/// The headers, unchanged; empty for those that are absent.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Hints<'a> {
    /// `Sec-CH-UA-Full-Version-List`, else `Sec-CH-UA`.
    pub brands: &'a [u8],
    /// `Sec-CH-UA-Platform`.
    pub platform: &'a [u8],
    /// `Sec-CH-UA-Platform-Version`.
    pub platform_version: &'a [u8],
    /// `Sec-CH-UA-Form-Factors`.
    pub form_factors: &'a [u8],
    /// `X-Requested-With`.
    pub requested_with: &'a [u8],
    /// `Sec-CH-UA-Mobile`.
    pub mobile: Option<bool>,
}

impl<'a> Hints<'a> {
    /// The hints of a click.
    pub fn of(facts: &Facts<'a>) -> Self {
        let texts = &facts.texts;
        let mobile = match (facts.flags.has(Flags::MOBILE), facts.flags.has(Flags::NOT_MOBILE)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        };
        Self {
            brands: texts.hint_brands,
            platform: texts.hint_platform,
            platform_version: texts.hint_platform_version,
            form_factors: texts.hint_form_factors,
            requested_with: texts.requested_with,
            mobile,
        }
    }

    /// Whether the request has no hints. `mobile` alone changes nothing.
    pub fn is_empty(&self) -> bool {
        self.texts().iter().all(|text| text.is_empty())
    }

    fn texts(&self) -> [&'a [u8]; 5] {
        [self.brands, self.platform, self.platform_version, self.form_factors, self.requested_with]
    }
}

/// The facts of an agent string, `known`, with the `hints` of the request laid over them.
pub fn overlay(known: &AgentFacts, hints: &Hints<'_>) -> AgentFacts {
    let mut overlaid = known.clone();
    if overlaid.bot.is_none() && !hints.is_empty() {
        let moved = system(&mut overlaid, hints);
        browser(&mut overlaid, hints);
        application(&mut overlaid, hints);
        device(&mut overlaid, hints, moved);
        overlaid.text = AgentText::of(overlaid.browser.as_ref(), overlaid.os.as_ref(), overlaid.device);
    }
    overlaid
}

/// `Sec-CH-UA-Platform`, and the slug of its system.
const PLATFORMS: &[(&str, &str)] = &[
    ("Android", "android"),
    ("Windows", WINDOWS),
    ("macOS", "macos"),
    ("Mac OS X", "macos"),
    ("Linux", "linux"),
    ("iOS", "ios"),
    ("Chrome OS", "chrome-os"),
    ("Chromium OS", "chrome-os"),
    ("Fuchsia", "fuchsia"),
    ("HarmonyOS", "harmonyos"),
    ("OpenHarmony", "harmonyos"),
    ("Tizen", "tizen"),
];

/// Whether the system is now a different one than that of the string.
fn system(overlaid: &mut AgentFacts, hints: &Hints<'_>) -> bool {
    let platform = fields::string(hints.platform);
    let Some(&(_, hinted)) = PLATFORMS.iter().find(|(platform_name, _)| platform == Some(platform_name)) else {
        return false;
    };
    let version = fields::string(hints.platform_version).and_then(version::whole);
    let known = overlaid.os.as_ref().map(|os| os.name.as_ref());
    if known.is_some_and(|known| known != hinted) {
        if known.is_some_and(is_special) || hinted == "ios" && known == Some("ipados") {
            return false;
        }
        overlaid.os = Some(named(hinted, version.as_deref()));
        return true;
    }
    let Some(os) = &mut overlaid.os else {
        overlaid.os = Some(named(hinted, version.as_deref()));
        return true;
    };
    match (hinted, version) {
        (WINDOWS, Some(version)) => os.version = windows(&version).map(str::to_owned),
        // The version of a kernel is of no interest.
        ("linux", _) | (_, None) => {}
        (_, Some(version)) => {
            let short = short(&version);
            if short != "0" && os.version.as_deref().map(self::short) != Some(short) {
                os.version = Some(short.to_owned());
            }
        }
    }
    false
}

/// A system from the hints.
fn named(hinted: &'static str, version: Option<&str>) -> Named {
    let version = match hinted {
        WINDOWS => version.and_then(windows),
        "linux" => None,
        _ => version.map(short).filter(|version| *version != "0"),
    };
    Named { name: Cow::Borrowed(hinted), version: version.map(str::to_owned) }
}

/// Systems for which browsers send hints of another system, or none.
fn is_special(os: &str) -> bool {
    !matches!(os, WINDOWS | "android" | "macos" | "linux" | "ios" | "chrome-os")
}

/// Microsoft's table: 13 and above is Windows 11, 0.1 to 0.3 are the releases before Windows 10.
fn windows(version: &str) -> Option<&'static str> {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(u32::MAX));
    match (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) {
        (0, 1) => Some("7"),
        (0, 2) => Some("8"),
        (0, 3) => Some("8.1"),
        (0, _) => None,
        (1..13, _) => Some("10"),
        _ => Some("11"),
    }
}

/// `14.0.0` is commonly written 14.
fn short(version: &str) -> &str {
    let mut short = version;
    while let Some(shorter) = short.strip_suffix(".0") {
        short = shorter;
    }
    short
}

/// Brands, the more specific first when a browser sends several, and the slug of the browser.
const BRANDS: &[(&str, &str)] = &[
    ("OperaMobile", "opera"),
    ("Opera GX", "opera-gx"),
    ("Opera GX Android", "opera-gx"),
    ("Opera Mini Android", "opera-mini"),
    ("Opera", "opera"),
    ("Opera Air", "opera"),
    ("Opera Crypto", "opera"),
    ("Brave", "brave"),
    ("Brave Browser", "brave"),
    ("Vivaldi", "vivaldi"),
    ("Samsung Internet", "samsung-internet"),
    ("YaSearchApp", "yandex-app"),
    ("YaSearchBrowser", "yandex-app"),
    ("YaBrowser", "yandex-browser"),
    ("Yandex", "yandex-browser"),
    ("DuckDuckGo", "duckduckgo"),
    ("Whale", "whale"),
    ("CocCoc", "coc-coc"),
    ("Coc Coc", "coc-coc"),
    ("Ecosia", "ecosia"),
    ("HuaweiBrowser", "huawei-browser"),
    ("Miui Browser", "miui-browser"),
    ("XiaoMiBrowser", "miui-browser"),
    ("QQBrowser", "qq-browser"),
    ("Amazon Silk", "silk"),
    ("Silk", "silk"),
    ("Oculus Browser", "oculus-browser"),
    ("Meta Quest Browser", "oculus-browser"),
    ("Avast Secure Browser", "avast-secure-browser"),
    ("AvastSecureBrowser", "avast-secure-browser"),
    ("AVG Secure Browser", "avg-secure-browser"),
    ("Avira Secure Browser", "avira-secure-browser"),
    ("CCleaner Browser", "ccleaner-browser"),
    ("Norton Private Browser", "norton-browser"),
    ("Norton Secure Browser", "norton-browser"),
    ("SznProhlizec", "seznam-browser"),
    ("WaveBrowser", "wave-browser"),
    ("Wavebox", "wavebox"),
    ("Puffin", "puffin"),
    ("Atom", "atom"),
    ("Microsoft Edge WebView2", WEBVIEW),
    ("Microsoft Edge", "edge"),
    ("Google Chrome", CHROME),
    ("Android WebView", WEBVIEW),
];

const CHROME: &str = "chrome";
const WEBVIEW: &str = "webview";

fn browser(overlaid: &mut AgentFacts, hints: &Hints<'_>) {
    let mut best = (BRANDS.len(), None);
    let whole = fields::list(hints.brands, |brand, version| {
        if let Some(at) = BRANDS.iter().take(best.0).position(|(name, _)| *name == brand) {
            best = (at, version);
        }
    });
    let Some(&(_, hinted)) = BRANDS.get(best.0).filter(|_| whole.is_some()) else {
        return;
    };
    let version = best.1.and_then(version::whole);
    let known = overlaid.browser.as_ref().map_or("", |browser| browser.name.as_ref());
    match (known, hinted) {
        (known, hinted) if known == hinted => {
            if let (Some(known), Some(version)) = (&mut overlaid.browser, version) {
                refine(known, version);
            }
        }
        // A web view has the same engine, and its brand says that it is not Chrome.
        (CHROME, WEBVIEW) => overlaid.browser.iter_mut().for_each(|known| known.name = Cow::Borrowed(WEBVIEW)),
        // The string says that Chrome is embedded, or which of Opera's browsers it is.
        (WEBVIEW, CHROME) => {}
        ("opera", "opera-gx") => overlaid.browser.iter_mut().for_each(|known| known.name = Cow::Borrowed(hinted)),
        ("" | CHROME | WEBVIEW | "safari" | "firefox" | "android-browser", _) => {
            overlaid.browser = Some(Named { name: Cow::Borrowed(hinted), version });
        }
        _ => {}
    }
}

/// Uses the version of the hint when it is that of the string in full: `126.0.6478.62` for `126.0.0.0`.
fn refine(known: &mut Named, hinted: String) {
    let Some(version) = &known.version else {
        known.version = Some(hinted);
        return;
    };
    let major = version.split('.').next().unwrap_or_default();
    if short(version) == major && short(&hinted) != major && hinted.split('.').next() == Some(major) {
        known.version = Some(hinted);
    }
}

fn application(overlaid: &mut AgentFacts, hints: &Hints<'_>) {
    let package = fields::package(hints.requested_with);
    let is_android = overlaid.os.as_ref().is_some_and(|os| matches!(os.name.as_ref(), "android" | "harmonyos"));
    let Some(package) = package.filter(|_| is_android) else {
        return;
    };
    let known = overlaid.browser.as_ref().map_or("", |browser| browser.name.as_ref());
    if !matches!(known, "" | CHROME | WEBVIEW | "android-browser") {
        return;
    }
    match PACKAGES.binary_search_by_key(&package, |(name, _)| name) {
        Ok(at) if PACKAGES[at].1 == known => {}
        Ok(at) => overlaid.browser = Some(Named { name: Cow::Borrowed(PACKAGES[at].1), version: None }),
        Err(_) => overlaid.browser.iter_mut().for_each(|known| known.name = Cow::Borrowed(WEBVIEW)),
    }
}

/// Form factors, and the device of each; the most specific first, since a device may send several.
const FORM_FACTORS: &[(&str, Device)] = &[
    ("Automotive", Device::Appliance),
    ("Watch", Device::Wearable),
    ("XR", Device::Wearable),
    ("TV", Device::Tv),
    ("EInk", Device::Appliance),
    ("Tablet", Device::Tablet),
    ("Mobile", Device::Smartphone),
    ("Desktop", Device::Pc),
];

/// `moved`: the system came from the hints.
fn device(overlaid: &mut AgentFacts, hints: &Hints<'_>, moved: bool) {
    let mut best = FORM_FACTORS.len();
    let whole = fields::list(hints.form_factors, |factor, _| {
        best = FORM_FACTORS.iter().take(best).position(|(name, _)| *name == factor).unwrap_or(best);
    });
    let hinted = FORM_FACTORS.get(best).filter(|_| whole.is_some()).map(|&(_, device)| device);
    let os = overlaid.os.as_ref().map_or("", |os| os.name.as_ref());
    let by_system = match (os, hints.mobile) {
        _ if !moved => None,
        ("android" | "harmonyos", Some(false)) => Some(Device::Tablet),
        ("android" | "harmonyos" | "ios", _) | (_, Some(true)) => Some(Device::Smartphone),
        (WINDOWS | "macos" | "linux" | "chrome-os", _) => Some(Device::Pc),
        _ => None,
    };
    let general = [Device::Pc, Device::Smartphone, Device::Tablet, Device::Other];
    let is_general = |device: Option<Device>| device.is_none_or(|device| general.contains(&device));
    if is_general(overlaid.device) || !is_general(hinted) {
        overlaid.device = hinted.or(by_system).or(overlaid.device);
    }
}

#[cfg(test)]
pub(super) fn platforms() -> impl Iterator<Item = &'static str> {
    PLATFORMS.iter().map(|(_, name)| *name)
}

#[cfg(test)]
pub(super) fn brands() -> impl Iterator<Item = &'static str> {
    BRANDS.iter().chain(PACKAGES).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests;
