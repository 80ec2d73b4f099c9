//! Slugs of systems, devices and browsers as events have them, and the names that people write.
//!
//! `ios` covers iPads, too, whose system is `ipados` in events: who leads iPhones to a store means both.

use super::{super::field::Field, MAX_VALUES};

/// Names shown in a message.
const MAX_SHOWN: usize = 60;

/// The names of one condition.
pub(super) struct Vocabulary {
    /// An example.
    example: &'static str,
    /// In events, sorted.
    slugs: &'static [&'static str],
    /// What people write, and the slugs that they mean.
    synonyms: &'static [(&'static str, &'static [&'static str])],
    /// What a slug may have behind the name that people write.
    endings: &'static [&'static str],
}

impl Vocabulary {
    /// The slugs of one name or a list of names.
    pub(super) fn read(&self, field: &Field<'_>) -> Result<Box<[&'static str]>, String> {
        let remedy = format!("write names such as \"{}\"", self.example);
        let mut slugs = Vec::new();
        for field in field.values(MAX_VALUES, &remedy)? {
            let name = field.value().as_str().ok_or_else(|| field.is_bad(&remedy))?;
            let name = name.trim().to_lowercase().replace([' ', '_'], "-");
            let meant = self.meant(&name).ok_or_else(|| field.is_bad(&self.known(&name)))?;
            slugs.extend(meant);
        }
        slugs.sort_unstable();
        slugs.dedup();
        Ok(slugs.into())
    }

    /// All slugs that synonyms mean.
    #[cfg(test)]
    pub(super) fn synonyms(&self) -> impl Iterator<Item = &'static str> {
        self.synonyms.iter().flat_map(|(_, meant)| *meant).copied()
    }

    fn meant(&self, name: &str) -> Option<Vec<&'static str>> {
        if let Some((_, meant)) = self.synonyms.iter().find(|(written, _)| *written == name) {
            return Some(meant.to_vec());
        }
        let known = |name: &str| self.slugs.binary_search(&name).ok().map(|at| vec![self.slugs[at]]);
        known(name).or_else(|| self.endings.iter().find_map(|ending| known(&format!("{name}{ending}"))))
    }

    /// The remedy for an unknown name: all known ones, or those that begin alike.
    fn known(&self, name: &str) -> String {
        if self.slugs.len() <= MAX_SHOWN {
            return format!("known are {}", self.slugs.join(", "));
        }
        let alike = self.slugs.iter().filter(|slug| slug.chars().next() == name.chars().next());
        let alike = alike.copied().collect::<Vec<_>>().join(", ");
        let alike = if alike.is_empty() { self.slugs.get(..MAX_SHOWN).unwrap_or_default().join(", ") } else { alike };
        format!("known are {alike} and others, which the manual lists")
    }
}

/// Operating systems.
pub(super) const SYSTEMS: Vocabulary = Vocabulary {
    example: "ios",
    slugs: OS,
    synonyms: &[
        ("ios", &["ios", "ipados"]),
        ("iphone", &["ios"]),
        ("iphone-os", &["ios"]),
        ("ipad", &["ipados"]),
        ("ipad-os", &["ipados"]),
        ("mac", &["macos"]),
        ("mac-os", &["macos"]),
        ("mac-os-x", &["macos"]),
        ("os-x", &["macos"]),
        ("osx", &["macos"]),
        ("win", &["windows"]),
        ("chromeos", &["chrome-os"]),
        ("ubuntu", &["linux"]),
        ("apple-tv", &["tvos"]),
        ("harmony-os", &["harmonyos"]),
        (
            "playstation",
            &["playstation-3", "playstation-4", "playstation-5", "playstation-portable", "playstation-vita"],
        ),
        ("nintendo", &["nintendo-3ds", "nintendo-switch", "nintendo-wii", "nintendo-wii-u"]),
    ],
    endings: &["-os"],
};

/// Kinds of devices.
pub(super) const DEVICES: Vocabulary = Vocabulary {
    example: "smartphone",
    slugs: KINDS,
    synonyms: &[
        ("mobile", &["smartphone", "mobile-phone"]),
        ("phone", &["smartphone", "mobile-phone"]),
        ("feature-phone", &["mobile-phone"]),
        ("desktop", &["pc"]),
        ("computer", &["pc"]),
        ("laptop", &["pc"]),
        ("smart-tv", &["tv"]),
        ("television", &["tv"]),
        ("game-console", &["console"]),
        ("watch", &["wearable"]),
    ],
    endings: &[],
};

/// Browsers, and applications that show pages.
pub(super) const BROWSERS: Vocabulary = Vocabulary {
    example: "chrome",
    slugs: PROGRAMS,
    synonyms: &[
        ("chromium", &["chrome"]),
        ("google-chrome", &["chrome"]),
        ("chrome-mobile", &["chrome"]),
        ("microsoft-edge", &["edge"]),
        ("mobile-safari", &["safari"]),
        ("mozilla-firefox", &["firefox"]),
        ("ie", &["internet-explorer"]),
        ("msie", &["internet-explorer"]),
        ("samsung", &["samsung-internet"]),
        ("samsung-browser", &["samsung-internet"]),
        ("twitter", &["x-app"]),
        ("twitter-app", &["x-app"]),
        ("amazon-silk", &["silk"]),
        ("duckduckgo-browser", &["duckduckgo"]),
        ("naver-whale", &["whale"]),
        ("web-view", &["webview"]),
    ],
    endings: &["-browser", "-app"],
};

/// Slugs of operating systems.
pub(in crate::link) const OS: &[&str] = &[
    "android",
    "bada",
    "blackberry",
    "blackberry-tablet-os",
    "brew",
    "chrome-os",
    "firefox-os",
    "freebsd",
    "fuchsia",
    "haiku",
    "harmonyos",
    "ios",
    "ipados",
    "kaios",
    "linux",
    "macos",
    "maemo",
    "meego",
    "mre",
    "netbsd",
    "nintendo-3ds",
    "nintendo-switch",
    "nintendo-wii",
    "nintendo-wii-u",
    "openbsd",
    "playstation-3",
    "playstation-4",
    "playstation-5",
    "playstation-portable",
    "playstation-vita",
    "roku-os",
    "sailfish-os",
    "series-40",
    "solaris",
    "symbian",
    "tizen",
    "tvos",
    "vidaa",
    "watchos",
    "webos",
    "windows",
    "windows-ce",
    "windows-phone",
    "xbox",
];

/// Slugs of devices.
pub(in crate::link) const KINDS: &[&str] =
    &["appliance", "console", "mobile-phone", "other", "pc", "smartphone", "tablet", "tv", "wearable"];

/// Slugs of browsers and applications.
pub(in crate::link) const PROGRAMS: &[&str] = &[
    "115-browser",
    "2345-browser",
    "360-browser",
    "adblock-browser",
    "alipay-app",
    "aloha-browser",
    "android-browser",
    "arc",
    "atom",
    "avast-secure-browser",
    "avg-secure-browser",
    "avira-secure-browser",
    "baidu-app",
    "baidu-browser",
    "band-app",
    "basilisk",
    "bilibili-app",
    "bing-app",
    "blackberry-browser",
    "bluesky-app",
    "brave",
    "camino",
    "ccleaner-browser",
    "chrome",
    "cm-browser",
    "cobalt",
    "coc-coc",
    "comodo-dragon",
    "daum-app",
    "dillo",
    "dingtalk-app",
    "discord-app",
    "dolfin",
    "dolphin",
    "douyin-app",
    "duckduckgo",
    "ecosia",
    "edge",
    "electron",
    "epiphany",
    "facebook-app",
    "falkon",
    "firefox",
    "firefox-focus",
    "firefox-lite",
    "flipboard-app",
    "gmail-app",
    "google-app",
    "google-maps-app",
    "google-messages-app",
    "grab-app",
    "heytap-browser",
    "hi-browser",
    "hola-browser",
    "honor-browser",
    "huawei-browser",
    "icecat",
    "iceweasel",
    "instagram-app",
    "internet-explorer",
    "iridium",
    "iron",
    "jd-app",
    "jelly",
    "jig-browser",
    "k-meleon",
    "kakaostory-app",
    "kakaotalk-app",
    "kik-app",
    "kiwi-browser",
    "konqueror",
    "kwai-app",
    "lark-app",
    "lazada-app",
    "lg-browser",
    "liebao-browser",
    "line-app",
    "linkedin-app",
    "links",
    "lynx",
    "mastodon-app",
    "maxthon",
    "medium-app",
    "meituan-app",
    "meizu-browser",
    "messenger-app",
    "midori",
    "mint-browser",
    "miui-browser",
    "mypal",
    "naver-app",
    "netfront",
    "netscape",
    "nextdoor-app",
    "nintendo-browser",
    "nokia-browser",
    "norton-browser",
    "obigo",
    "oculus-browser",
    "odin",
    "ok-app",
    "omniweb",
    "openwave",
    "opera",
    "opera-gx",
    "opera-mini",
    "opera-touch",
    "oppo-browser",
    "orion",
    "otter",
    "outlook-app",
    "ovi-browser",
    "pale-moon",
    "phoenix-browser",
    "pico-browser",
    "pinterest-app",
    "puffin",
    "qq-app",
    "qq-browser",
    "qtwebengine",
    "quark",
    "quora-app",
    "qupzilla",
    "reddit-app",
    "roku-browser",
    "safari",
    "sailfish-browser",
    "samsung-internet",
    "seamonkey",
    "seznam-browser",
    "shopee-app",
    "silk",
    "skype-app",
    "slack-app",
    "sleipnir",
    "smart-lenovo-browser",
    "smartnews-app",
    "snapchat-app",
    "sogou-app",
    "sogou-explorer",
    "sogou-mobile",
    "spotify-app",
    "sputnik",
    "steam-app",
    "strava-app",
    "taobao-app",
    "teams-app",
    "telegram-app",
    "threads-app",
    "thunderbird",
    "tiktok-app",
    "tinder-app",
    "toutiao-app",
    "tumblr-app",
    "tv-bro",
    "uc-browser",
    "via-browser",
    "viber-app",
    "vivaldi",
    "vivo-browser",
    "vk-app",
    "w3m",
    "waterfox",
    "wave-browser",
    "wavebox",
    "waze-app",
    "webview",
    "wechat-app",
    "wecom-app",
    "weibo-app",
    "whale",
    "whatsapp-app",
    "x-app",
    "xiaohongshu-app",
    "xing-app",
    "yahoo-japan-app",
    "yahoo-mail-app",
    "yandex-app",
    "yandex-browser",
    "youtube-app",
    "zalo-app",
];
