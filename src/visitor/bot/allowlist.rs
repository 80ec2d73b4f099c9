//! Humans who look like bots: applications that show pages in a window of their own, and devices with odd names.
//!
//! An agent string with one of these marks is a human's unless the built-in table names a bot in it. The mark overrides
//! the heuristics: the rules for what crawlers call themselves, woothee's category, and the operator's list, whose
//! patterns (`Pinterest`, `Snapchat`, `DuckDuckGo`, ...) are written for previewers and match their applications, too.
//! Texts that the operator adds (`enrich.not_crawlers`) take precedence over the built-in table.

/// In any case; `^` and `$` as in the table of bots.
pub(super) const MARKS: &[&str] = &[
    // Facebook, Messenger, Instagram, Threads.
    "fban/",
    "fbav/",
    "fb_iab/",
    "instagram ",
    "barcelona ",
    // Other social networks.
    "musical_ly",
    "bytedancewebview",
    "trill_",
    "tiktok ",
    "linkedinapp",
    "snapchat/",
    "[pinterest/",
    "pinterest for ",
    "twitterandroid",
    "twitter for ",
    "weibo",
    "vkandroidapp",
    "vkclient",
    "odklandroid",
    "redditandroid",
    // Messengers.
    "micromessenger/",
    "wxwork/",
    "aliapp(",
    "line/",
    "kakaotalk",
    "dingtalk/",
    "alipayclient/",
    "zalo ",
    "whatsapp/",
    "viber/",
    // Search applications, and the browsers of search engines.
    "gsa/",
    "googleapp/",
    "duckduckgo/",
    "ddg/",
    "naver(inapp",
    "daumapps",
    "baiduboxapp/",
    "baidubrowser",
    "bingsapphire/",
    "yandexsearch/",
    "yabrowser/",
    "qwant/",
    "ecosia ",
    "brave/",
    "seznam.cz/",
    // Others that are named like a bot.
    "camscanner",
    "*qrscan",
    "*qrcode",
    "*barcode",
    "qr scan",
    "qr code",
    "qr reader",
    "googleweblight",
    // Phones and tablets; in a browser's own string they are recognised by their place.
    "cubot",
];
