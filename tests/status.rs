//! The status of an edge: its page in a real browser, the same as JSON, and the events that an operator watches.
//! Without `chromium` the tests of the page print `skipped:` and pass.
//!
//! `UPDATE_MANUAL=1` writes the picture in `src/manual/pages/`.

mod tap;

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::common::{
    Edge,
    browser::Browser,
    cli::clickedge,
    clicks::{click, of_feed, wait_until_delivered},
    contract::{twin, validator},
    disk::SmallDisk,
    link,
    s3::{Fault, S3},
};

/// A stop does not wait for what cannot be delivered.
const HASTY: &str = "[shutdown]\ndrain_secs = 1";

fn status(edge: &Edge) -> Value {
    let answer = edge.admin("/v1/status");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// The page in which no script has run.
fn page(edge: &Edge) -> String {
    let answer = edge.admin("/");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    answer.body
}

#[test]
fn the_status_is_what_the_schema_says_and_what_the_metrics_count() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/status.schema.json")).unwrap();
    let validator = validator(&twin(serde_json::from_str(&schema).unwrap()));
    let check = |value: &Value| {
        let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {value}");
    };
    check(&status(&edge));
    click(&edge, "a", 7);
    for _ in 0..3 {
        assert_eq!(edge.get("go.brand.com", "/unknown").status, 404);
    }
    wait_until_delivered(&edge, "all", 7);
    edge.wait_until("the clicks are counted", |edge| status(edge)["topLinks"]["workspaces"][0]["clicks"] == 7);
    let now = status(&edge);
    check(&now);
    assert_eq!((&now["pop"], &now["state"], &now["ready"]), (&json!("test"), &json!("ready"), &json!(true)));
    let hour = &now["traffic"]["hour"];
    assert_eq!((&hour["clicks"], &hour["notFound"], &hour["blocked"]), (&json!(7), &json!(3), &json!(0)));
    assert!(hour["p99Millis"].as_f64().unwrap() >= hour["p50Millis"].as_f64().unwrap());
    let clicks = &now["account"]["clicks"];
    assert_eq!((&clicks["answered"], &clicks["enriched"], &clicks["inRings"]), (&json!(7), &json!(7), &json!(0)));
    let events = &now["account"]["events"];
    assert_eq!((&events["delivered"], &events["inJournal"], &events["inOutbox"]), (&json!(7), &json!(0), &json!(0)));
    let feed = &now["feeds"][0];
    assert_eq!((&feed["name"], &feed["state"], &feed["sink"]), (&json!("all"), &json!("idle"), &json!("dir")));
    let key = feed["lastObject"]["key"].as_str().unwrap();
    assert!(edge.dir().join("bucket/all").join(key).exists(), "{key}");
    let top = &now["topLinks"]["workspaces"][0];
    assert_eq!((&top["id"], &top["links"][0]["slashtag"]), (&json!("w-1"), &json!("spring")));
    assert_eq!((&now["catalog"]["links"], &now["catalog"]["domains"]), (&json!(1), &json!(1)));

    let head = edge.admin("/v1/status?x=1");
    assert_eq!(head.header("cache-control"), Some("no-store"));
    assert_eq!(edge.get("go.brand.com", "/v1/status").status, 404, "not on the click listener");
}

#[test]
fn a_parked_feed_is_shown_with_the_words_of_its_store_and_what_waits() {
    let s3 = S3::start();
    s3.set(Fault::Forbidden("/brand-".into()));
    let edge = Edge::builder()
        .feed_into("brand", &["*"], &s3.sink_toml("clicks", ""))
        .feed("fine", &["*"])
        .section(HASTY)
        .start();
    click(&edge, "a", 5);
    edge.wait_until("the feed is parked", |edge| status(edge)["feeds"][0]["state"] == "parked");
    wait_until_delivered(&edge, "fine", 5);
    edge.wait_until("all is packed", |edge| status(edge)["account"]["events"]["inOutbox"] == 5);
    let now = status(&edge);
    let feed = &now["feeds"][0];
    assert!(feed["waitingObjects"].as_u64().unwrap() > 0 && feed["pending"] == 5, "{feed}");
    let error = &feed["lastError"];
    assert_eq!((&error["status"], &error["code"]), (&json!(403), &json!("AccessDenied")), "{feed}");
    assert!(error["remedy"].as_str().unwrap().contains("s3:PutObject"), "{error}");
    assert_eq!(now["account"]["events"]["delivered"], 5);
    let page = page(&edge);
    assert!(page.contains(">parked</td>") && page.contains("code AccessDenied"), "{page}");

    let config = edge.dir().join("clickedge.toml");
    let top = clickedge(&["top", "--once", "--config", config.to_str().unwrap()]).ok();
    for part in ["PoP test", "brand", "parked", "AccessDenied", "fine", "idle"] {
        assert!(top.contains(part), "no {part:?} in\n{top}");
    }
    assert!(!top.contains('\u{1b}'), "no escape sequences where no terminal is");
    assert_eq!(edge.stop().status.code(), Some(0));
}

#[test]
fn the_last_rejected_reload_is_shown_with_its_lines_until_one_succeeds() {
    let edge = Edge::builder().start();
    let file = edge.dir().join("clickedge.toml");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, whole.replace("threads = 2", "threads = 2\ntypo = 1")).unwrap();
    edge.signal("HUP");
    edge.wait_until("the reload is rejected", |edge| status(edge)["lastReload"]["rejected"] == true);
    let reload = &status(&edge)["lastReload"];
    assert_eq!(reload["notices"][0]["line"], 4, "{reload}");
    assert!(reload["notices"][0]["message"].as_str().unwrap().contains("typo"), "{reload}");
    let shown = page(&edge);
    assert!(
        shown.contains("The last reload was rejected at") && shown.contains("clickedge.toml:4</code>"),
        "{shown}"
    );
    fs::write(&file, whole).unwrap();
    edge.signal("HUP");
    edge.wait_until("the reload is applied", |edge| status(edge)["lastReload"]["rejected"] == false);
    assert!(page(&edge).contains("The last reload was applied at"));
}

#[test]
fn a_url_is_explained_as_the_edge_would_answer_it_and_no_click_is_made() {
    let mut limited = link("go.brand.com", "once", "https://www.example.com/once");
    limited["maxClicks"] = json!(1);
    let edge = Edge::builder().feed("all", &["*"]).link(limited).start();
    let explain = |url: &str| {
        let query: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
        edge.admin(&format!("/?url={query}")).body
    };
    for _ in 0..2 {
        let page = explain("go.brand.com/once?utm_term=poster");
        assert!(page.contains("302 https://www.example.com/once?utm_term=poster"), "{page}");
        assert!(page.contains("0 of 1 clicks are taken") && page.contains(", a click."), "{page}");
    }
    assert!(explain("https://go.brand.com/nowhere").contains("<strong>404</strong>"));
    assert!(explain("https://other.example/").contains("<strong>404</strong>"), "without an upstream");
    assert!(explain("ftp://go.brand.com/").contains("is not http or https"));
    let hostile = explain("go.brand.com/\"><script>alert(1)</script>");
    assert!(!hostile.contains("<script>alert") && hostile.contains("&lt;script&gt;alert"), "{hostile}");
    assert_eq!(edge.sum("clickedge_requests_total"), 0);
    assert_eq!((edge.get("go.brand.com", "/once").status, edge.get("go.brand.com", "/once").status), (302, 410));
    assert!(explain("go.brand.com/once").contains("1 of 1 clicks are taken"));
}

/// Links, workspaces and stores choose names that attack the page of the operator.
#[test]
fn no_name_of_others_runs_in_the_operators_browser() {
    let evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    let mut hostile = link("go.brand.com", "evil", "https://www.example.com/");
    hostile["workspace"] = json!({"id": format!("w{evil}"), "name": evil});
    let edge = Edge::builder().feed("all", &["*"]).link(hostile).start();
    assert_eq!(edge.get("go.brand.com", "/evil").status, 302);
    edge.wait_until("the click is counted", |edge| !status(edge)["topLinks"]["workspaces"][0].is_null());
    let Some(mut browser) = Browser::start(edge.address) else { return };
    let query: String = url::form_urlencoded::byte_serialize(evil.as_bytes()).collect();
    browser.open(&format!("http://{}/?url=go.brand.com/{query}", edge.admin));
    browser.wait_for("document.getElementById('connection')?.textContent === 'live'");
    assert_eq!(browser.evaluate("document.querySelectorAll('img').length"), json!(0));
    assert_eq!(browser.evaluate("document.scripts.length"), json!(1));
    assert!(browser.evaluate("document.title").as_str().unwrap().starts_with("ready"));
    let shown = browser.evaluate("document.body.textContent");
    assert!(shown.as_str().unwrap().contains("<img src=x onerror="), "{shown}");
    // The policy stops what would get in by another way.
    browser.evaluate("const s = document.createElement('script'); s.textContent = \"document.title = 'owned'\"; document.body.append(s)");
    assert!(browser.evaluate("document.title").as_str().unwrap().starts_with("ready"));
}

#[test]
fn the_page_is_live_can_be_used_by_keyboard_and_retries_a_feed() {
    let s3 = S3::start();
    s3.set(Fault::Forbidden("/brand-".into()));
    let edge = Edge::builder()
        .feed_into("brand", &["*"], &s3.sink_toml("clicks", ""))
        .section(HASTY)
        .link(link("go.brand.com", "summer", "https://www.example.com/summer"))
        .start();
    let Some(mut browser) = Browser::start(edge.address) else { return };
    browser.open(&format!("http://{}/", edge.admin));
    browser.wait_for("document.getElementById('connection')?.textContent === 'live'");
    click(&edge, "a", 5);
    browser.wait_for("[...document.querySelectorAll('td.bad')].some((cell) => cell.textContent === 'parked')");
    // The focus stays where it is while the page changes.
    browser.evaluate("document.getElementById('retry-brand').focus()");
    let seen = browser.evaluate("document.querySelector('time').textContent");
    browser.wait_for(&format!("document.querySelector('time').textContent !== {seen}"));
    assert_eq!(browser.evaluate("document.activeElement.id"), json!("retry-brand"));
    let named = "document.querySelectorAll('label[for=url], th[scope], svg[role=img][aria-label]').length";
    assert!(browser.evaluate(named).as_u64().unwrap() > 10, "tables, graphs and fields have names");
    s3.set(Fault::Healthy);
    browser.evaluate("document.getElementById('retry-brand').click()");
    browser.wait_for("location.hash === '#feeds' && document.getElementById('connection').textContent === 'live'");
    assert!(edge.metric(&of_feed("feed_retries_requested_total", "brand")) > 0);
    wait_until_delivered(&edge, "brand", 5);
    browser.wait_for("[...document.querySelectorAll('td.good')].some((cell) => cell.textContent === 'idle')");
}

/// In light and dark, on a screen and on a phone, with and without scripts: nothing is wider than the screen, and every
/// text can be read.
#[test]
fn the_page_fits_on_a_phone_and_can_be_read_in_the_dark() {
    let s3 = S3::start();
    s3.set(Fault::Forbidden("/brand-".into()));
    let mut builder = Edge::builder();
    for (slashtag, workspace) in [("summer", "w-1"), ("sale", "w-1"), ("news", "w-2")] {
        let mut link = link("go.brand.com", slashtag, "https://www.example.com/");
        link["workspace"] = json!({"id": workspace, "name": "W"});
        builder = builder.link(link);
    }
    let edge = builder
        .feed_into("brand", &["*"], &s3.sink_toml("clicks", ""))
        .feed("archive", &["*"])
        .section(HASTY)
        .start();
    let Some(mut browser) = Browser::start(edge.address) else { return };
    for (count, slashtag) in [(9, "spring"), (5, "summer"), (3, "sale"), (4, "news"), (2, "nowhere")] {
        for _ in 0..count {
            edge.get("go.brand.com", &format!("/{slashtag}"));
        }
    }
    edge.wait_until("the feed is parked", |edge| status(edge)["feeds"][1]["state"] == "parked");
    wait_until_delivered(&edge, "archive", 21);
    edge.wait_until("there is a graph", |edge| status(edge)["traffic"]["series"].as_array().unwrap().len() > 1);
    edge.wait_until("clicks are counted", |edge| status(edge)["topLinks"]["workspaces"][0]["clicks"] == 17);
    browser.without_scripts();
    browser.open(&format!("http://{}/?url=go.brand.com/spring", edge.admin));
    browser.wait_for("document.readyState === 'complete' && document.querySelector('.steps li') !== null");
    for scheme in ["light", "dark"] {
        browser.show_as(320, 640, scheme);
        let fits = browser.evaluate("document.documentElement.scrollWidth <= 320 && innerWidth === 320");
        assert_eq!(fits, json!(true), "the page is wider than a phone");
        let faint = browser.evaluate(FAINT);
        assert_eq!(faint, json!([]), "texts with too little contrast, {scheme}");
    }
    if std::env::var("UPDATE_MANUAL").is_ok() {
        browser.show_as(1000, 1400, "light");
        browser.screenshot(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/pages/status.png"));
    }
}

/// The texts whose contrast to what is behind them is less than 4.5 to 1.
const FAINT: &str = "(() => {
    const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
    const light = (color) => {
        const [r, g, b] = numbers(color).map((part) => {
            const share = part / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            if (numbers(color)[3] !== 0) return color;
        }
        return 'rgb(255, 255, 255)';
    };
    const faint = [];
    for (const element of document.querySelectorAll('body *')) {
        const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!hasText || element.closest('svg, script, noscript, .hidden')) continue;
        const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faint.push(element.textContent.slice(0, 40) + ' ' + contrast.toFixed(2));
    }
    return faint;
})()";

/// The names of the problems that an edge reports. The disk of this machine may be nearly full.
fn problems(edge: &Edge) -> Vec<String> {
    let now = status(edge);
    let names =
        now["problems"].as_array().unwrap().iter().map(|problem| problem["alert"].as_str().unwrap().to_owned());
    names.filter(|name| name != "ClickedgeDiskFilling").collect()
}

#[test]
fn with_a_full_disk_clicks_are_shown_in_the_rings_and_not_in_the_journal() {
    let builder = Edge::builder().feed("all", &["*"]).section(HASTY);
    let disk = match SmallDisk::mount(&builder.dir().join("spool"), 4096) {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: no small disk can be mounted here: {error}"),
    };
    let edge = builder.start();
    disk.fill();
    let noise = "x".repeat(3_000);
    edge.wait_until("the disk is full", |edge| {
        edge.get("go.brand.com", &format!("/spring?{noise}"));
        status(edge)["spool"]["diskFull"] == true
    });
    // Some events may be on the disk. Those that follow are not, although workers have made them.
    for n in 0..20 {
        edge.get("go.brand.com", &format!("/spring?{n}"));
    }
    edge.wait_until("all are enriched", |edge| {
        let clicks = &status(edge)["account"]["clicks"];
        clicks["enriched"] == clicks["answered"]
    });
    let now = status(&edge);
    let (clicks, events) = (&now["account"]["clicks"], &now["account"]["events"]);
    let of = |name: &str| clicks[name].as_i64().unwrap();
    assert!(of("inRings") > 0, "{clicks}");
    assert_eq!(of("inRings") + of("journaled"), of("answered"), "{clicks}");
    assert_eq!(events["inRings"], clicks["inRings"], "one feed takes each click: {events}");
    assert!(problems(&edge).contains(&"ClickedgeDiskFull".to_owned()), "{now}");
    let page = page(&edge);
    assert!(page.contains("the disk of the spool is full") && page.contains("Free disk space"), "{page}");
    disk.free();
    edge.wait_until("the journal has them", |edge| {
        let now = status(edge);
        now["account"]["clicks"]["inRings"] == 0 && now["account"]["events"]["inRings"] == 0
    });
    edge.wait_until("no problem is left", |edge| problems(edge).is_empty());
    drop(edge.stop());
}

#[test]
fn a_rejected_catalog_and_another_mistake_after_its_repair_are_two_problems() {
    let edge = Edge::builder().start();
    let (links, config) = (edge.dir().join("links.ndjson"), edge.dir().join("clickedge.toml"));
    let whole = [fs::read_to_string(&links).unwrap(), fs::read_to_string(&config).unwrap()];
    let reload = || clickedge(&["reload", "--config", config.to_str().unwrap()]);
    fs::write(&links, "no catalog\n").unwrap();
    let rejected = reload();
    assert_eq!(rejected.code, 65, "{}", rejected.stderr);
    assert!(
        rejected.stderr.starts_with("error: ") && !rejected.stderr.contains("error: error:"),
        "{}",
        rejected.stderr
    );
    assert_eq!(problems(&edge), ["ClickedgeCatalogRejected"]);
    fs::write(&links, &whole[0]).unwrap();
    fs::write(edge.dir().join("geoip.mmdb"), "no database").unwrap();
    fs::write(&config, format!("{}\n[enrich]\ngeoip_file = \"geoip.mmdb\"\n", whole[1])).unwrap();
    // The running edge has no database: the configuration that names it is what is wrong.
    assert_eq!(reload().code, 65);
    assert_eq!(problems(&edge), ["ClickedgeReloadRejected"]);
    fs::write(&links, "no catalog\n").unwrap();
    fs::write(&config, &whole[1]).unwrap();
    assert_eq!(reload().code, 65);
    assert_eq!(problems(&edge), ["ClickedgeCatalogRejected"]);
    fs::write(&links, &whole[0]).unwrap();
    fs::write(&config, whole[1].replace("threads = 2", "threads = 2\ntypo = 1")).unwrap();
    // A configuration that cannot be read names no catalog that could be read again.
    edge.signal("HUP");
    let both = ["ClickedgeCatalogRejected", "ClickedgeReloadRejected"];
    edge.wait_until("the mistake is a problem, too", |edge| problems(edge) == both);
    fs::write(&config, &whole[1]).unwrap();
    assert_eq!(reload().code, 0);
    assert!(problems(&edge).is_empty());
}
