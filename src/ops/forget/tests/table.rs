use super::*;

const NOW: &str = "2030-01-01T00:00";

/// Twelve Sundays, as in restic's document on removing snapshots.
fn sundays() -> Vec<PolicyCandidate> {
    let days = daily("2019-09-01", "2019-11-17");
    at(&days.iter().step_by(7).collect::<Vec<_>>())
}

#[test]
fn twelve_sundays_are_decided_on_as_restic_does() {
    for (rules, kept) in [
        // restic's own example.
        ("daily 4", &[8, 9, 10, 11][..]),
        ("last 2", &[10, 11]),
        ("weekly 3", &[9, 10, 11]),
        // The newest of September, October and November.
        ("monthly 3", &[4, 8, 11]),
        // One year has any; what is asked for beyond is the oldest.
        ("yearly 1", &[11]),
        ("yearly 2", &[0, 11]),
        ("quarter-yearly 2", &[4, 11]),
        // Duration rules go back from the latest, not from now.
        ("within 14d", &[10, 11]),
        ("within 15d", &[9, 10, 11]),
        ("within 1m", &[7, 8, 9, 10, 11]),
        ("within-monthly 2m", &[4, 8, 11]),
        // Rules are joined by or.
        ("last 1; daily 2; monthly 2", &[8, 10, 11]),
        ("daily unlimited", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        ("monthly -1", &[0, 4, 8, 11]),
        ("last 1; id 3", &[3, 11]),
        ("last 0", &[]),
    ] {
        assert_eq!(numbers(&sundays(), rules, &utc(NOW)), kept, "{rules}");
    }
}

#[test]
fn a_hundred_years_are_decided_on_as_restic_does() {
    let all = at(&daily("1930-01-01", "2029-12-31"));
    let kept = kept(
        &all,
        &policy("daily 7; weekly 5; monthly 12; yearly 75"),
        &utc(NOW),
    );
    let by = |rule: &str| kept.iter().filter(|(_, reasons)| reasons.contains(rule)).count();
    let rules = ["daily", "weekly", "monthly", "yearly"];
    assert_eq!(rules.map(by), [7, 5, 12, 75]);
    // 31 December, a Monday, is the newest of all four; 30 December is a day, and the end of the week before.
    assert_eq!(kept.len(), 7 + 3 + 11 + 74);
    assert!(kept.iter().all(|(_, reasons)| !reasons.contains("oldest")));
}

#[test]
fn a_span_of_days_weeks_months_and_years_is_decided_on_as_restic_does() {
    let all = at(&daily("2024-01-01", "2026-11-24"));
    let rules = policy("within-daily 7d; within-weekly 1m; within-monthly 1y; within-yearly 75y");
    let kept = kept(&all, &rules, &utc(NOW));
    let by = |rule: &str| kept.iter().filter(|(_, reasons)| reasons.contains(rule)).count();
    assert_eq!(by("daily within 7d"), 7);
    // Tuesday 24 November back to Sunday 25 October: this week, four whole ones, and the end of one more.
    assert_eq!(by("weekly within 1m"), 6);
    assert_eq!(by("monthly within 1y"), 13);
    // Three years, and the oldest, because all there is lies within.
    assert_eq!(by("yearly within 75y"), 4);
    assert_eq!(kept[0], (0, "oldest yearly within 75y".into()));
}

/// A snapshot on each day of 2015 but 19 December: the example of borg's document on prune.
fn borg() -> (Vec<String>, Vec<PolicyCandidate>) {
    let mut days = daily("2015-01-01", "2015-12-31");
    days.retain(|day| !day.starts_with("2015-12-19"));
    let all = at(&days);
    (days, all)
}

fn days(days: &[String], numbers: &[usize]) -> Vec<String> {
    numbers
        .iter()
        .map(|number| days[*number][..10].to_owned())
        .collect()
}

#[test]
fn borgs_example_comes_out_with_one_more_of_each_later_rule() {
    let (names, all) = borg();
    let mut expected = vec!["2015-01-01".to_owned()];
    expected.extend(["06-30", "07-31", "08-31", "09-30", "10-31", "11-30"].map(|day| format!("2015-{day}")));
    expected.extend([17, 18].map(|day| format!("2015-12-{day}")));
    expected.extend((20..=31).map(|day| format!("2015-12-{day}")));
    let calendar = utc("2016-01-01T00:00");
    // borg does not count for a later rule what an earlier one keeps; restic and levault do.
    let kept = numbers(&all, "daily 14; monthly 7; yearly 2", &calendar);
    assert_eq!(days(&names, &kept), expected);
    let same_numbers = numbers(&all, "daily 14; monthly 6; yearly 1", &calendar);
    expected.retain(|day| day != "2015-01-01" && day != "2015-06-30");
    assert_eq!(days(&names, &same_numbers), expected);
}

#[test]
fn reasons_name_the_rule_and_the_slot() {
    let all = at(&[
        "2026-11-22T10:00",
        "2026-11-23T10:00",
        "2026-11-24T09:10",
        "2026-11-24T10:20",
    ]);
    let rules = policy(
        "last 1; hourly 1; daily 1; weekly 1; monthly 1; quarter-yearly 1; yearly 2; within 2d; within-daily 1d",
    );
    let kept = kept(&all, &rules, &utc(NOW));
    let newest = "last, within 2d, hourly 2026-11-24T10, daily 2026-11-24, weekly 2026-W48, monthly 2026-11, \
        quarter-yearly 2026-Q4, yearly 2026, daily within 1d 2026-11-24";
    assert_eq!(
        kept,
        [
            (0, "oldest yearly".to_owned()),
            (1, "within 2d".to_owned()),
            (2, "within 2d".to_owned()),
            (3, newest.to_owned())
        ]
    );
}

#[test]
fn weeks_are_those_of_iso_8601() {
    // 1 January 2027 is a Friday, of the last week of 2026; 4 January begins the first of 2027.
    let all = at(&[
        "2026-12-27T12:00",
        "2026-12-28T12:00",
        "2027-01-03T12:00",
        "2027-01-04T12:00",
    ]);
    assert_eq!(numbers(&all, "weekly 3", &utc(NOW)), [0, 2, 3]);
    let kept = kept(&all, &policy("weekly 2"), &utc(NOW));
    assert_eq!(kept[0].1, "weekly 2026-W53");
}

#[test]
fn days_begin_where_the_calendars_zone_says() {
    let all = at(&["2026-11-23T22:30", "2026-11-23T23:30", "2026-11-24T10:00"]);
    assert_eq!(numbers(&all, "daily 2", &utc(NOW)), [1, 2]);
    let berlin = PolicyCalendar {
        zone: TimeZone::fixed(jiff::tz::offset(1)),
        ..utc(NOW)
    };
    assert_eq!(numbers(&all, "daily 2", &berlin), [0, 2]);
}

#[test]
fn an_hour_that_the_clock_repeats_is_one() {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let all = at(&[
        "2026-10-24T20:00",
        "2026-10-25T00:30",
        "2026-10-25T01:30",
        "2026-10-25T02:30",
    ]);
    let calendar = PolicyCalendar { zone, ..utc(NOW) };
    assert_eq!(numbers(&all, "hourly 3", &calendar), [0, 2, 3]);
}

#[test]
fn a_month_back_from_the_31st_is_the_last_of_a_short_month() {
    let all = at(&[
        "2026-02-28T12:00",
        "2026-02-28T12:01",
        "2026-03-02T12:00",
        "2026-03-31T12:00",
    ]);
    // Go's calendar, and so restic, makes 31 February 3 March of it, and keeps the last one only.
    assert_eq!(numbers(&all, "within 1m", &utc(NOW)), [1, 2, 3]);
}

#[test]
fn snapshots_of_the_future_are_kept_by_spans_and_are_not_the_latest() {
    let all = at(&[
        "2026-11-01T00:00",
        "2026-11-09T00:00",
        "2026-11-10T00:00",
        "2027-01-01T00:00",
    ]);
    assert_eq!(numbers(&all, "within 2d", &utc("2026-11-11T00:00")), [1, 2, 3]);
    assert_eq!(numbers(&all, "within 2d", &utc("2026-01-01T00:00")), [0, 1, 2, 3]);
    assert_eq!(
        numbers(&all, "within-monthly 2d", &utc("2026-11-11T00:00")),
        [2, 3]
    );
}

#[test]
fn tags_of_one_list_are_joined_by_and_and_lists_by_or() {
    let mut all = at(&[
        "2026-11-01T00:00",
        "2026-11-02T00:00",
        "2026-11-03T00:00",
        "2026-11-04T00:00",
    ]);
    for (number, tags) in [(0, &["a", "b"][..]), (1, &["a"]), (2, &["c"])] {
        all[number].tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    }
    for (rules, kept) in [
        ("tag a", &[0, 1][..]),
        ("tag a,b", &[0]),
        ("tag a,b; tag c", &[0, 2]),
        ("tag", &[3]),
        ("tag d", &[]),
    ] {
        assert_eq!(numbers(&all, rules, &utc(NOW)), kept, "{rules}");
    }
}

#[test]
fn what_is_protected_is_kept_and_stands_for_its_slot_like_any_other() {
    let mut all = at(&["2026-11-01T00:00", "2026-11-02T00:00", "2026-11-03T00:00"]);
    all[0].protected = true;
    all[2].protected = true;
    let kept = kept(&all, &policy("last 1"), &utc(NOW));
    assert_eq!(kept, [(0, "protected".into()), (2, "protected, last".into())]);
}

#[test]
fn a_suspect_snapshot_stands_for_no_slot_that_has_another_and_is_not_counted() {
    let times = [
        "2026-11-01T10:00",
        "2026-11-02T10:00",
        "2026-11-02T11:00",
        "2026-11-03T10:00",
        "2026-11-04T10:00",
    ];
    let mut all = at(&times);
    all[2].suspect = true;
    all[3].suspect = true;
    for (rules, kept) in [
        // The day's other snapshot stands for it, and a day that has but a suspect one is kept besides.
        ("daily 2", &[1, 3, 4][..]),
        ("daily 3", &[0, 1, 3, 4]),
        ("last 2", &[1, 2, 3, 4]),
        ("within-daily 3d", &[1, 3, 4]),
        // All lie within, so that the oldest is kept; and the oldest is one that nobody doubts.
        ("within-daily 9d", &[0, 1, 3, 4]),
        ("yearly 2", &[0, 4]),
    ] {
        assert_eq!(numbers(&all, rules, &utc(NOW)), kept, "{rules}");
    }
    all[0].suspect = true;
    assert_eq!(numbers(&all, "yearly 2", &utc(NOW)), [1, 4]);
    all.iter_mut().for_each(|candidate| candidate.suspect = true);
    assert_eq!(numbers(&all, "last 1", &utc(NOW)), [0, 1, 2, 3, 4]);
}

#[test]
fn of_two_snapshots_of_one_time_the_greater_name_is_the_newer() {
    let all = at(&["2026-11-01T10:00"; 3]);
    assert_eq!(numbers(&all, "last 1", &utc(NOW)), [2]);
}

#[test]
fn nothing_is_decided_on_nothing() {
    assert!(plan(&[], &policy("last 1; daily 7; within 1y"), &utc(NOW)).is_empty());
}

#[test]
fn numbers_and_durations_are_read_as_restic_reads_them() {
    assert_eq!("7".parse::<KeepCount>().unwrap(), KeepCount::Of(7));
    assert_eq!("unlimited".parse::<KeepCount>().unwrap(), KeepCount::All);
    assert_eq!("-1".parse::<KeepCount>().unwrap(), KeepCount::All);
    for wrong in ["", "-2", "x", "1.5", "99999999999"] {
        assert_eq!(
            wrong.parse::<KeepCount>().unwrap_err().kind(),
            ErrorKind::Usage,
            "{wrong}"
        );
    }
    let reach: KeepDuration = "2y5m7d3h".parse().unwrap();
    assert_eq!((reach.years, reach.months, reach.days, reach.hours), (2, 5, 7, 3));
    assert_eq!(reach.to_string(), "2y5m7d3h");
    assert_eq!("3h2y".parse::<KeepDuration>().unwrap().to_string(), "2y3h");
    for wrong in [
        "",
        "7",
        "d",
        "1w",
        "-1d",
        "1d-",
        "1 d",
        "99999999d",
        "60000d60000d",
        "1é",
        "٣d",
    ] {
        assert_eq!(
            wrong.parse::<KeepDuration>().unwrap_err().kind(),
            ErrorKind::Usage,
            "{wrong}"
        );
    }
}

#[test]
fn a_policy_that_keeps_nothing_whatever_there_is_is_empty() {
    for rules in ["", "last 0", "daily 0; weekly 0", "within 0d", "within-daily 0h"] {
        assert!(policy(rules).is_empty(), "{rules}");
    }
    for rules in [
        "last 1",
        "yearly -1",
        "tag",
        "id 1",
        "within 1h",
        "within-yearly 1y",
    ] {
        assert!(!policy(rules).is_empty(), "{rules}");
    }
    let words = policy("last 1; daily 7; weekly 0; within-monthly 1y; tag a,b").to_string();
    assert_eq!(
        words,
        "keep-last 1, keep-daily 7, keep-within-monthly 1y, keep-tag a,b"
    );
}
