//! The marks that browsers, systems and devices leave in an agent string, found in one pass.
//!
//! Of the marks of one kind the first of the table wins, not the first in the string: applications stand before the
//! engine that they embed, Windows Phone before the Android and the iPhone that it pretends to be. Case counts. A mark
//! does not match right after a letter; right after a digit it does, as in `Safari/537.36Snapchat/12.84`.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::event::Device;

/// What the marks of one agent string tell.
#[derive(Default)]
pub struct Marked<'a> {
    pub browser: Option<Browser<'a>>,
    /// Slug, and the string after the mark.
    pub os: Option<(&'static str, &'a str)>,
    pub device: Option<Device>,
}

pub struct Browser<'a> {
    pub name: &'static str,
    /// Where the version stands, when it is not right after the mark.
    pub version_mark: Option<&'static str>,
    /// The string after the mark.
    pub rest: &'a str,
}

/// Reads the marks of `agent`.
pub fn scan(agent: &str) -> Marked<'_> {
    let (browsers, systems) = (BROWSERS.len(), SYSTEMS.len());
    // Per kind: the lowest place in the table so far, and where the string goes on.
    let mut best = [(usize::MAX, 0); 3];
    let Some(automaton) = AUTOMATON.as_ref() else {
        return Marked::default();
    };
    for found in automaton.find_overlapping_iter(agent) {
        let at = found.pattern().as_usize();
        let kind = usize::from(at >= browsers) + usize::from(at >= browsers + systems);
        if at < best[kind].0 && starts_a_word(agent.as_bytes(), found.start()) {
            best[kind] = (at, found.end());
        }
    }
    let [browser, os, device] = best;
    let rest = |end| agent.get(end..).unwrap_or_default();
    Marked {
        browser: BROWSERS.get(browser.0).map(|&(_, name, version_mark)| Browser {
            name,
            version_mark,
            rest: rest(browser.1),
        }),
        os: os.0.checked_sub(browsers).and_then(|at| SYSTEMS.get(at)).map(|&(_, name)| (name, rest(os.1))),
        device: device.0.checked_sub(browsers + systems).and_then(|at| DEVICES.get(at)).map(|&(_, device)| device),
    }
}

/// Constant marks, far below the builder's limits: the tests would see a None at once.
static AUTOMATON: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let browsers = BROWSERS.iter().map(|mark| mark.0);
    let systems = SYSTEMS.iter().map(|mark| mark.0);
    let devices = DEVICES.iter().map(|mark| mark.0);
    AhoCorasick::new(browsers.chain(systems).chain(devices)).ok()
});

fn starts_a_word(agent: &[u8], start: usize) -> bool {
    let is_letter = |at| agent.get(at).is_some_and(u8::is_ascii_alphabetic);
    !(is_letter(start) && start.checked_sub(1).is_some_and(is_letter))
}

/// Mark, slug, and the mark of the version when it stands elsewhere.
const BROWSERS: &[(&str, &str, Option<&str>)] = &[
    // Applications that show pages themselves.
    ("Barcelona ", "threads-app", None),
    ("Instagram ", "instagram-app", None),
    ("FBAN/Messenger", "messenger-app", FACEBOOK),
    ("FB_IAB/MESSENGER", "messenger-app", FACEBOOK),
    ("FB_IAB/Orca", "messenger-app", FACEBOOK),
    ("FBAN/", "facebook-app", FACEBOOK),
    ("FB_IAB/", "facebook-app", FACEBOOK),
    ("FBAV/", "facebook-app", None),
    ("musical_ly", "tiktok-app", TIKTOK),
    ("BytedanceWebview", "tiktok-app", TIKTOK),
    ("trill_", "tiktok-app", TIKTOK),
    ("TikTok", "tiktok-app", TIKTOK),
    ("LinkedInApp", "linkedin-app", None),
    ("Snapchat", "snapchat-app", None),
    ("Pinterest/", "pinterest-app", None),
    ("Pinterest for ", "pinterest-app", Some("Pinterest for Android/")),
    ("wxwork/", "wecom-app", None),
    ("MicroMessenger/", "wechat-app", None),
    ("Line/", "line-app", None),
    ("KAKAOTALK", "kakaotalk-app", None),
    ("Twitter for ", "x-app", Some("Twitter for iPhone/")),
    ("TwitterAndroid", "x-app", None),
    ("WhatsApp", "whatsapp-app", None),
    ("Telegram", "telegram-app", Some("Telegram-Android/")),
    ("Viber", "viber-app", None),
    ("Zalo", "zalo-app", None),
    ("Reddit/", "reddit-app", None),
    ("Discord", "discord-app", None),
    ("discord/", "discord-app", None),
    ("Slack", "slack-app", None),
    ("Teams/", "teams-app", None),
    ("Weibo", "weibo-app", None),
    ("AlipayClient/", "alipay-app", None),
    ("DingTalk/", "dingtalk-app", None),
    ("baiduboxapp/", "baidu-app", None),
    ("NAVER(", "naver-app", None),
    ("DaumApps", "daum-app", None),
    ("YandexSearch", "yandex-app", None),
    ("YaSearch", "yandex-app", None),
    ("BingSapphire/", "bing-app", None),
    ("GSA/", "google-app", None),
    ("Flipboard/", "flipboard-app", None),
    ("SmartNews", "smartnews-app", None),
    ("Outlook-iOS", "outlook-app", None),
    ("Thunderbird/", "thunderbird", None),
    // Browsers that carry the name of another one as well.
    ("IEMobile/", "internet-explorer", None),
    ("DuckDuckGo/", "duckduckgo", None),
    ("Ddg/", "duckduckgo", None),
    ("HuaweiBrowser/", "huawei-browser", None),
    ("ArkWeb/", "huawei-browser", None),
    ("MiuiBrowser/", "miui-browser", None),
    ("Mint Browser/", "mint-browser", None),
    ("HeyTapBrowser/", "heytap-browser", None),
    ("VivoBrowser/", "vivo-browser", None),
    ("PHX/", "phoenix-browser", None),
    ("UCBrowser", "uc-browser", None),
    ("UC Browser", "uc-browser", None),
    ("UCWEB/", "uc-browser", None),
    ("UBrowser/", "uc-browser", None),
    ("MQQBrowser/", "qq-browser", None),
    ("QQBrowser/", "qq-browser", None),
    ("QQ/", "qq-app", None),
    ("Quark/", "quark", None),
    ("MetaSr", "sogou-explorer", None),
    ("360SE", "360-browser", None),
    ("QIHU 360", "360-browser", None),
    ("Puffin/", "puffin", None),
    ("Silk/", "silk", None),
    ("Brave/", "brave", None),
    ("Brave Chrome/", "brave", None),
    ("Vivaldi/", "vivaldi", None),
    ("YaBrowser/", "yandex-browser", None),
    ("SamsungBrowser/", "samsung-internet", None),
    ("coc_coc_browser/", "coc-coc", None),
    ("Whale/", "whale", None),
    ("Ecosia", "ecosia", None),
    ("AlohaBrowser/", "aloha-browser", None),
    ("Avast/", "avast-secure-browser", None),
    ("AVG/", "avg-secure-browser", None),
    ("Norton/", "norton-browser", None),
    ("Maxthon", "maxthon", None),
    ("Dolphin", "dolphin", None),
    ("OculusBrowser/", "oculus-browser", None),
    ("Opera Mini/", "opera-mini", None),
    ("OPX/", "opera", None),
    ("OPT/", "opera", None),
    ("OPiOS/", "opera", None),
    ("OPR/", "opera", None),
    ("EdgA/", "edge", None),
    ("EdgiOS/", "edge", None),
    ("Edg/", "edge", None),
    ("Edge/", "edge", None),
    ("Focus/", "firefox-focus", None),
    ("Klar/", "firefox-focus", None),
    ("FxiOS/", "firefox", None),
    ("SeaMonkey/", "seamonkey", None),
    ("PaleMoon/", "pale-moon", None),
    ("Waterfox/", "waterfox", None),
    ("CriOS/", "chrome", None),
    ("Epiphany/", "epiphany", None),
    ("Falkon/", "falkon", None),
    ("Konqueror/", "konqueror", None),
    ("Electron/", "electron", None),
    ("QtWebEngine/", "qtwebengine", None),
    ("NintendoBrowser/", "nintendo-browser", None),
    ("NF/", "nintendo-browser", None),
    ("BB10", "blackberry-browser", Some("Version/")),
    ("BlackBerry", "blackberry-browser", Some("Version/")),
    ("S40OviBrowser/", "ovi-browser", None),
    ("NetFront/", "netfront", None),
    ("Obigo", "obigo", None),
    ("Lynx/", "lynx", None),
    ("w3m/", "w3m", None),
    ("Links (", "links", None),
    // An application that does not say its name.
    ("; wv)", "webview", Some("Chrome/")),
];

const FACEBOOK: Option<&str> = Some("FBAV/");
const TIKTOK: Option<&str> = Some("app_version/");

const SYSTEMS: &[(&str, &str)] = &[
    ("Windows Phone OS ", "windows-phone"),
    ("Windows Phone", "windows-phone"),
    ("Xbox", "xbox"),
    ("PlayStation 5", "playstation-5"),
    ("PlayStation 4", "playstation-4"),
    ("PLAYSTATION 3", "playstation-3"),
    ("PlayStation Vita", "playstation-vita"),
    ("PlayStation Portable", "playstation-portable"),
    ("Nintendo Switch", "nintendo-switch"),
    ("Nintendo WiiU", "nintendo-wii-u"),
    ("Nintendo Wii", "nintendo-wii"),
    ("Nintendo 3DS", "nintendo-3ds"),
    ("CrOS ", "chrome-os"),
    ("OpenHarmony", "harmonyos"),
    ("HarmonyOS", "harmonyos"),
    ("Tizen", "tizen"),
    ("Web0S", "webos"),
    ("webOS", "webos"),
    ("hpwOS", "webos"),
    ("KAIOS/", "kaios"),
    ("Roku", "roku-os"),
    ("AppleTV", "tvos"),
    ("tvOS", "tvos"),
    ("watchOS", "watchos"),
    ("Watch OS", "watchos"),
    ("iPad", "ipados"),
    ("iPhone", "ios"),
    ("iPod", "ios"),
    ("BB10", "blackberry"),
    ("BlackBerry", "blackberry"),
    ("Android", "android"),
    ("Adr ", "android"),
    ("Bada", "bada"),
    ("Symbian", "symbian"),
    ("Series60", "symbian"),
    ("Windows ", "windows"),
    ("Windows", "windows"),
    ("Macintosh", "macos"),
    ("Mac OS X", "macos"),
    ("FreeBSD", "freebsd"),
    ("OpenBSD", "openbsd"),
    ("NetBSD", "netbsd"),
    ("SunOS", "solaris"),
    ("(Mobile; rv:", "firefox-os"),
    ("Linux", "linux"),
    ("X11", "linux"),
];

const DEVICES: &[(&str, Device)] = &[
    ("OculusBrowser/", Device::Wearable),
    ("Apple Watch", Device::Wearable),
    ("Watch OS", Device::Wearable),
    ("watchOS", Device::Wearable),
    ("Wear OS", Device::Wearable),
    ("; SM-R", Device::Wearable),
    ("PlayStation", Device::Console),
    ("PLAYSTATION", Device::Console),
    ("Xbox", Device::Console),
    ("Nintendo", Device::Console),
    ("SmartTV", Device::Tv),
    ("SMART-TV", Device::Tv),
    ("Smart TV", Device::Tv),
    ("Smart-TV", Device::Tv),
    ("SmartHub", Device::Tv),
    ("Android TV", Device::Tv),
    ("GoogleTV", Device::Tv),
    ("Google TV", Device::Tv),
    ("AppleTV", Device::Tv),
    ("Apple TV", Device::Tv),
    ("HbbTV/", Device::Tv),
    ("NetCast", Device::Tv),
    ("Web0S", Device::Tv),
    ("BRAVIA", Device::Tv),
    ("VIERA", Device::Tv),
    ("InettvBrowser/", Device::Tv),
    ("MiTV", Device::Tv),
    ("MIBOX", Device::Tv),
    ("CrKey", Device::Tv),
    ("Roku", Device::Tv),
    (" AFT", Device::Tv),
    ("Tesla/", Device::Appliance),
    ("QtCarBrowser", Device::Appliance),
    ("FamilyHub", Device::Appliance),
    (" AEO", Device::Appliance),
    ("iPad", Device::Tablet),
    // Not "Tablet PC", which Internet Explorer says on any desktop.
    ("Tablet;", Device::Tablet),
    ("Tablet)", Device::Tablet),
    ("Kindle", Device::Tablet),
    ("Silk/", Device::Tablet),
    ("PlayBook", Device::Tablet),
    ("Touchpad", Device::Tablet),
    ("(PC; OpenHarmony", Device::Pc),
    ("MIDP", Device::MobilePhone),
    ("KAIOS/", Device::MobilePhone),
    ("UP.Browser", Device::MobilePhone),
];
