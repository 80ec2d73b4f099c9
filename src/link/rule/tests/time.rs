use super::*;

fn zoned(when: &Value, now: &str) -> bool {
    holds(when, &Visitor { now: now.parse().unwrap(), ..Visitor::default() })
}

#[test]
fn a_window_has_its_start_and_not_its_end() {
    let window = json!({"after": "2026-01-01T00:00:00Z", "before": "2026-02-01T00:00:00+01:00"});
    assert!(zoned(&window, "2026-01-01T00:00:00Z") && zoned(&window, "2026-01-31T22:59:59Z"));
    assert!(!zoned(&window, "2025-12-31T23:59:59.999Z") && !zoned(&window, "2026-01-31T23:00:00Z"));
    let local = json!({"after": "2026-07-01T00:00:00", "timeZone": "Europe/Rome"});
    assert!(zoned(&local, "2026-06-30T22:00:00Z") && !zoned(&local, "2026-06-30T21:59:59Z"));
    assert!(zoned(&json!({"after": "2026-07-01"}), "2026-07-01T00:00:00Z"));
}

#[test]
fn weekday_and_hours_go_by_the_clock_of_the_zone() {
    let office = json!({
        "after": "2026-01-01T00:00:00Z", "weekday": ["mon"], "hours": "09:00-17:00", "timeZone": "Europe/Rome",
    });
    // Winter: UTC+1. Monday, 5 January 2026.
    assert!(zoned(&office, "2026-01-05T08:00:00Z") && zoned(&office, "2026-01-05T15:59:59Z"));
    assert!(!zoned(&office, "2026-01-05T07:59:59Z") && !zoned(&office, "2026-01-05T16:00:00Z"));
    assert!(!zoned(&office, "2026-01-06T10:00:00Z") && !zoned(&office, "2025-12-29T10:00:00Z"));
    // Summer: UTC+2. Clocks change on Sunday, 29 March 2026.
    assert!(zoned(&office, "2026-03-23T15:30:00Z") && !zoned(&office, "2026-03-30T15:30:00Z"));
    assert!(!zoned(&office, "2026-03-23T07:30:00Z") && zoned(&office, "2026-03-30T07:30:00Z"));
    assert!(zoned(&json!({"hours": "9:00-17:00"}), "2026-01-05T09:00:00Z"));
    assert!(zoned(&json!({"weekday": "MON"}), "2026-01-05T00:00:00Z"));
    // Sunday evening in UTC is Monday in Auckland.
    assert!(zoned(&json!({"weekday": ["mon"], "timeZone": "pacific/auckland"}), "2026-01-04T12:00:00Z"));
}

#[test]
fn an_hour_that_clocks_leave_out_never_holds_and_one_that_they_show_twice_holds_twice() {
    let night = json!({"hours": ["02:00-03:00"], "timeZone": "Europe/Rome"});
    // 29 March 2026: 01:59:59+01:00 is followed by 03:00:00+02:00.
    for minute in 0..180 {
        let now: Timestamp = "2026-03-29T00:00:00Z".parse().unwrap();
        let now = now + jiff::SignedDuration::from_mins(minute);
        assert!(!holds(&night, &Visitor { now, ..Visitor::default() }), "{now}");
    }
    // 25 October 2026: 02:00 to 03:00 comes with +02:00, and again with +01:00.
    assert!(zoned(&night, "2026-10-25T00:30:00Z") && zoned(&night, "2026-10-25T01:30:00Z"));
    assert!(!zoned(&night, "2026-10-24T23:59:59Z") && !zoned(&night, "2026-10-25T02:00:00Z"));
}

#[test]
fn hours_may_pass_midnight() {
    let night = json!({"hours": "22:00-06:00"});
    assert!(zoned(&night, "2026-01-05T22:00:00Z") && zoned(&night, "2026-01-05T05:59:59Z"));
    assert!(!zoned(&night, "2026-01-05T21:59:59Z") && !zoned(&night, "2026-01-05T06:00:00Z"));
    let day = json!({"hours": "00:00-24:00"});
    assert!(zoned(&day, "2026-01-05T00:00:00Z") && zoned(&day, "2026-01-05T23:59:59Z"));
    let breaks = json!({"hours": ["09:00-12:00", "13:00-17:00"]});
    assert!(zoned(&breaks, "2026-01-05T11:59:00Z") && !zoned(&breaks, "2026-01-05T12:30:00Z"));
}
