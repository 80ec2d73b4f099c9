use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::{
    click::{ClientAddr, EventId, Flags, Protocol, Texts},
    config,
};

const NOON: u64 = 1_795_392_000_000_000;
const SECOND: u64 = 1_000_000;

fn velocity() -> VelocityTracker {
    with(&config::Quality::default())
}

/// With the same key always: parts of hashes are equal once in a thousand runs.
fn with(config: &config::Quality) -> VelocityTracker {
    let keyed = RandomState::with_seeds(1, 2, 3, 4);
    VelocityTracker { keyed, ..VelocityTracker::new(Arc::new(State::new(config).unwrap())) }
}

fn click(velocity: &mut VelocityTracker, micros: u64, address: &str, agent: &str, link: &str) -> VelocityFindings {
    velocity.click(&Facts {
        id: EventId::at(micros),
        micros,
        client: ClientAddr::from_ip(address.parse().unwrap()),
        status: 302,
        protocol: Protocol::Http11,
        flags: Flags::default(),
        texts: Texts {
            user_agent: agent.as_bytes(),
            link_id: link.as_bytes(),
            host: b"go.brand.com",
            ..Texts::default()
        },
    })
}

#[test]
fn more_than_twenty_clicks_on_one_link_within_a_minute_are_a_flood() {
    let mut velocity = velocity();
    for n in 0..20 {
        assert!(!click(&mut velocity, NOON + n * 2 * SECOND, "192.0.2.1", "a", "l").flood, "{n}");
    }
    assert!(click(&mut velocity, NOON + 45 * SECOND, "192.0.2.1", "a", "l").flood);
    assert!(!click(&mut velocity, NOON + 45 * SECOND, "192.0.2.1", "a", "other").flood, "another link");
    assert!(!click(&mut velocity, NOON + 45 * SECOND, "192.0.2.1", "b", "l").flood, "another visitor");
    assert!(!click(&mut velocity, NOON + 45 * SECOND, "192.0.2.2", "a", "l").flood, "another address");
    assert!(click(&mut velocity, NOON + 62 * SECOND, "192.0.2.1", "a", "l").flood, "the window before counts");
    assert!(!click(&mut velocity, NOON + 200 * SECOND, "192.0.2.1", "a", "l").flood, "it is over");
}

#[test]
fn a_human_who_reloads_or_comes_back_is_no_flood_and_no_bot() {
    let mut velocity = velocity();
    for n in 0..3 {
        assert_eq!(click(&mut velocity, NOON + n * SECOND / 2, "192.0.2.1", "a", "l"), VelocityFindings::default());
    }
    for n in 0..2_000 {
        let found = click(&mut velocity, NOON + n * 4 * SECOND, "192.0.2.1", "a", "l");
        assert_eq!(found, VelocityFindings::default(), "every four seconds, for two hours");
    }
}

#[test]
fn a_household_of_ipv6_addresses_is_one_visitor() {
    let mut velocity = velocity();
    let found: Vec<_> =
        (0..21).map(|n| click(&mut velocity, NOON, &format!("2001:db8::{n:x}"), "a", "l").flood).collect();
    assert_eq!(found.iter().filter(|flood| **flood).count(), 1);
}

#[test]
fn five_links_in_three_seconds_make_a_visitor_a_bot_for_minutes() {
    let mut velocity = velocity();
    let links = ["1", "2", "3", "4"];
    for (n, link) in links.iter().enumerate() {
        assert!(!click(&mut velocity, NOON + n as u64 * SECOND / 2, "192.0.2.1", "a", link).bot);
    }
    assert!(click(&mut velocity, NOON + 2 * SECOND, "192.0.2.1", "a", "5").bot);
    assert!(click(&mut velocity, NOON + 301 * SECOND, "192.0.2.1", "a", "1").bot);
    assert!(
        !click(&mut velocity, NOON + 301 * SECOND, "192.0.2.1", "b", "1").bot,
        "another agent behind the address"
    );
    assert!(!click(&mut velocity, NOON + 303 * SECOND, "192.0.2.1", "a", "1").bot, "it is over");
}

#[test]
fn a_visitor_who_opens_links_at_a_humans_pace_is_no_bot() {
    let mut velocity = velocity();
    for n in 0..500_u64 {
        let found = click(&mut velocity, NOON + n * 800_000, "192.0.2.1", "a", &n.to_string());
        assert!(!found.bot, "{n}: a link every 0.8 s, of which three seconds see four");
    }
    for n in 0..500 {
        assert!(!click(&mut velocity, NOON + 600 * SECOND, "192.0.2.2", "a", &(n % 4).to_string()).bot, "four links");
    }
}

#[test]
fn a_visitor_who_comes_back_after_weeks_is_new() {
    for days in [2, 20, 30, 49, 50, 70] {
        let (mut velocity, later) = (velocity(), NOON + days * 86_400 * SECOND);
        for n in 0..20 {
            click(&mut velocity, NOON, "192.0.2.1", "a", "l");
            click(&mut velocity, NOON, "192.0.2.2", "a", &(n % 4).to_string());
        }
        for n in 0..4_u64 {
            assert_eq!(click(&mut velocity, later + n, "192.0.2.1", "a", "l"), VelocityFindings::default(), "{days}");
            assert_eq!(
                click(&mut velocity, later + n, "192.0.2.2", "a", &(n + 4).to_string()),
                VelocityFindings::default()
            );
        }
    }
}

#[test]
fn thirty_humans_behind_one_address_are_humans() {
    let mut velocity = velocity();
    for n in 0..300_u64 {
        let (agent, link) = (format!("agent {}", n % 30), format!("{}", n / 30 % 4));
        let found = click(&mut velocity, NOON + n * SECOND / 10, "192.0.2.1", &agent, &link);
        assert_eq!(found, VelocityFindings::default(), "{n}");
    }
}

#[test]
fn a_company_with_one_kind_of_computer_may_do_more_than_a_single_visitor() {
    let mut velocity = velocity();
    for n in 0..20 {
        click(&mut velocity, NOON, "192.0.2.1", &format!("telephone {n}"), "l");
    }
    for n in 0..14 {
        assert!(!click(&mut velocity, NOON, "192.0.2.1", "company", &n.to_string()).bot, "{n}");
    }
    assert!(click(&mut velocity, NOON, "192.0.2.1", "company", "15").bot, "and not everything");
    let floods = (0..61).filter(|_| click(&mut velocity, NOON, "192.0.2.1", "other", "m").flood).count();
    assert_eq!(floods, 1);
}

#[test]
fn an_address_that_changes_its_agent_with_each_click_is_a_flood_in_the_end() {
    let mut velocity = velocity();
    let click = |n: u64| click(&mut velocity, NOON + n * SECOND / 10, "192.0.2.1", &n.to_string(), "l").flood;
    assert_eq!((0..201).map(click).filter(|flood| *flood).count(), 1);
}

#[test]
fn only_the_visitor_gets_a_penalty_and_only_if_floods_block() {
    let block = vec![crate::event::Reason::ClickFlood];
    let mut velocity = with(&config::Quality { block, ..config::Quality::default() });
    for n in 0..21 {
        let state = Arc::clone(&velocity.state);
        let address = ClientAddr::from_ip(IpAddr::from([192, 0, 2, 1]));
        let has = |agent: &[u8]| state.penalties().unwrap().has(address.hash_input(), agent, NOON / SECOND + 1);
        assert!(!has(b"a") && !has(b"b"), "{n}");
        click(&mut velocity, NOON, "192.0.2.1", "a", "l");
        assert_eq!((has(b"a"), has(b"b")), (n == 20, false));
    }
    assert!(self::velocity().state.penalties().is_none());
}

#[test]
fn what_is_switched_off_detects_nothing() {
    let mut velocity = with(&config::Quality { flood_clicks: 0, burst_links: 0, ..config::Quality::default() });
    for n in 0..1_000 {
        assert_eq!(click(&mut velocity, NOON, "192.0.2.1", "a", &(n % 20).to_string()), VelocityFindings::default());
    }
}

#[test]
fn a_visitor_who_keeps_clicking_is_kept_while_a_million_others_pass() {
    let mut velocity = velocity();
    for n in 0..100_000_u32 {
        let others = IpAddr::from((0x0a00_0000 | n).to_be_bytes()).to_string();
        click(&mut velocity, NOON + u64::from(n) * 10, &others, "a", "l");
        if n % 1_000 == 0 {
            click(&mut velocity, NOON + u64::from(n) * 10, "192.0.2.1", "a", "l");
        }
    }
    assert!(click(&mut velocity, NOON + 2 * SECOND, "192.0.2.1", "a", "l").flood);
}

proptest! {
    #[test]
    fn any_times_are_taken(times in prop::collection::vec((any::<u32>(), any::<u8>()), 0..300), wild: u64) {
        let mut velocity = velocity();
        for (time, link) in times {
            click(&mut velocity, NOON + u64::from(time) * 1_000, "192.0.2.1", "a", &link.to_string());
        }
        click(&mut velocity, wild / 2, "192.0.2.1", "a", "l");
    }

    #[test]
    fn an_estimate_never_exceeds_what_two_windows_hold(gaps in prop::collection::vec(0_u32..90_000, 1..200)) {
        let (mut rate, mut now, mut times) = (Rate::default(), 1_000_000, Vec::new());
        for gap in gaps {
            now += gap;
            times.push(now);
            let counted = rate.add(now, 60_000);
            let within = |millis| times.iter().filter(|time| now - **time < millis).count() as u32;
            prop_assert!(counted >= 1 && counted <= within(120_000), "{} {}", counted, within(120_000));
        }
    }
}
