//! Windows of event time against a slow oracle that keeps every event, in whatever order events
//! come and however late.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use agon_projections::stream::{OTHER_SERVERS, hash};
use agon_projections::window::{
    BUCKET_NAME_BYTES_MAX, BUCKET_SERVERS_MAX, Newest, Rings, Span, Window,
};
use agon_schema::event::{Event, RecentChange};
use agon_schema::{Timestamp, Topic, TopicPartition};
use proptest::prelude::*;
use support::{Chance, change, text};

const PARTITIONS: u32 = 3;
const SECOND: i64 = 1_000_000;

fn time(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn end_of_time() -> Timestamp {
    "9999-12-31T23:59:59Z".parse().unwrap()
}

fn event(micros: i64, user: Option<&str>, bot: bool, server: Option<&str>) -> RecentChange {
    let Event::RecentChange(mut event) = change("id", user, Some(bot), server) else { panic!() };
    event.occurred_at = time(micros);
    event
}

/// The partitions of a stream: users stand in one each.
#[derive(Clone, Default)]
struct Stream {
    rings: [Rings; PARTITIONS as usize],
}

impl Stream {
    fn observe(&mut self, event: &RecentChange) {
        let key = event.user.as_deref().unwrap_or("");
        let home = TopicPartition::of_key(Topic::RecentChange, key.as_bytes(), PARTITIONS);
        let user = event.user.as_deref().map(hash);
        for span in Span::ALL {
            self.rings[home.partition as usize].of_mut(span).observe(event, user);
        }
    }

    fn newest(&self, until: Timestamp) -> Newest {
        let mut newest = Newest::new(until);
        self.rings.iter().for_each(|rings| newest.add(rings));
        newest
    }

    fn window(&self, span: Span, until: Timestamp) -> Window {
        let mut window = Window::new(span, self.newest(until).micros().unwrap());
        self.rings.iter().for_each(|rings| window.add(rings));
        window
    }
}

/// The oracle: looks at every event.
fn check(stream: &Stream, events: &[RecentChange], span: Span) {
    let window = stream.window(span, end_of_time());
    let newest = events.iter().map(|event| event.occurred_at.micros()).max().unwrap();
    assert_eq!(window.newest_micros(), newest);
    // It holds the span, and at most a granularity more.
    let least = newest - span.seconds() * SECOND;
    let from = window.from_micros();
    assert!(from <= least && least - from < span.granularity_seconds() * SECOND, "{span:?}");
    let inside = || events.iter().filter(|event| event.occurred_at.micros() >= from);
    let mut servers = BTreeMap::new();
    for name in inside().filter_map(|event| event.server_name.clone()) {
        *servers.entry(name).or_insert(0) += 1;
    }
    let users: BTreeSet<_> = inside().filter_map(|event| event.user.as_ref()).collect();
    let bots = inside().filter(|event| event.bot == Some(true)).count() as u64;
    assert_eq!((window.messages, window.bots), (inside().count() as u64, bots), "{span:?}");
    assert_eq!(window.servers.clone().into_sorted(), servers, "{span:?}");
    assert_eq!((window.distinct_users, window.distinct_users_error()), (users.len() as u64, 0.0));
}

fn events(seed: u64, count: u64, range_s: u64) -> Vec<RecentChange> {
    let mut chance = Chance(seed);
    let start = chance.pick(&[-5_000_000_000, 0, 1_700_000_000]) * SECOND;
    let mut make = |_| {
        let micros = start + chance.below(range_s * 1_000_000) as i64;
        let user = format!("user {}", chance.below(60));
        let user = (!chance.one_in(9)).then_some(user.as_str());
        let server = chance.pick(&[None, Some("a"), Some("b"), Some("")]);
        event(micros, user, chance.one_in(3), server)
    };
    (0..count).map(&mut make).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In no order at all, hours and days late.
    #[test]
    fn windows_are_what_every_event_says(
        seed: u64,
        count in 1..400_u64,
        range_s in prop::sample::select(vec![1_u64, 90, 4_000, 90_000, 1_000_000]),
    ) {
        let events = events(seed, count, range_s);
        let mut stream = Stream::default();
        for (index, event) in (1..).zip(&events) {
            stream.observe(event);
            if index == events.len() || index % 97 == 0 {
                Span::ALL.iter().for_each(|span| check(&stream, &events[..index], *span));
            }
        }
    }

    /// Time goes on for weeks: what is counted is bounded, and the windows are right all along.
    #[test]
    fn time_fills_the_rings_over_and_over(seed: u64, step_s in 1..5_000_u64) {
        let (mut chance, mut stream, mut told) = (Chance(seed), Stream::default(), Vec::new());
        let mut now = 0;
        for index in 0..600 {
            now += chance.below(2 * step_s) as i64 * SECOND;
            let late = chance.below(60 * step_s) as i64 * SECOND;
            let micros = if chance.one_in(5) { now - late } else { now };
            told.push(event(micros, Some(&format!("u{}", chance.below(9))), false, Some("s")));
            stream.observe(&told[told.len() - 1]);
            if index % 150 == 149 {
                Span::ALL.iter().for_each(|span| check(&stream, &told, *span));
            }
        }
        for (span, places) in [(Span::Minute, 61), (Span::Hour, 61), (Span::Day, 97)] {
            for rings in &stream.rings {
                prop_assert!(rings.of(span).iter().count() <= places);
            }
        }
    }
}

#[test]
fn the_spans_are_those_that_are_stated() {
    let stated = [("1m", 60, 1, 61), ("1h", 3_600, 60, 61), ("24h", 86_400, 900, 97)];
    for (span, (text, seconds, granularity, places)) in Span::ALL.into_iter().zip(stated) {
        assert_eq!(text.parse(), Ok(span));
        let found = (span.text(), span.seconds(), span.granularity_seconds(), span.places());
        assert_eq!(found, (text, seconds, granularity, places));
    }
    for bad in ["", "1M", "60s", "1d", " 1m", "1m "] {
        assert!(bad.parse::<Span>().is_err(), "{bad:?}");
    }
}

#[test]
fn an_event_dated_ahead_takes_its_own_place_and_moves_no_window() {
    let (mut stream, mut told) = (Stream::default(), events(7, 200, 50));
    told.iter().for_each(|event| stream.observe(event));
    let now = told.iter().map(|event| event.occurred_at).max().unwrap();
    let before = Span::ALL.map(|span| stream.window(span, now));
    assert!(!stream.newest(now).is_ahead());
    let ahead = event(now.micros() + 86_400 * 365 * SECOND, Some("ahead"), true, None);
    stream.observe(&ahead);
    assert!(stream.newest(now).is_ahead());
    // In each ring it stands in one place; what stood there in one partition may be gone.
    for (before, span) in before.into_iter().zip(Span::ALL) {
        let after = stream.window(span, now);
        assert_eq!(before.newest_micros(), after.newest_micros());
        assert!(after.messages <= before.messages);
    }
    // Once its time has come it is the newest.
    told.push(ahead);
    Span::ALL.iter().for_each(|span| check(&stream, &told, *span));
}

#[test]
fn servers_of_a_bucket_are_bounded() {
    let mut stream = Stream::default();
    for n in 0..BUCKET_SERVERS_MAX + 5 {
        stream.observe(&event(0, Some("u"), false, Some(&format!("server {n:03}"))));
    }
    stream.observe(&event(0, Some("u"), false, Some(&"x".repeat(BUCKET_NAME_BYTES_MAX + 1))));
    stream.observe(&event(0, Some("u"), false, Some("server 000")));
    let window = stream.window(Span::Hour, end_of_time());
    let servers = window.servers.into_sorted();
    assert_eq!(servers.len(), BUCKET_SERVERS_MAX + 1);
    assert_eq!((servers["server 000"], servers[OTHER_SERVERS]), (2, 6));
    assert_eq!(servers.values().sum::<u64>(), window.messages);
}

#[test]
fn a_bucket_that_is_of_another_place_is_no_row() {
    let mut stream = Stream::default();
    stream.observe(&event(5 * SECOND, Some("u"), false, None));
    let rings = stream.rings.iter().find(|rings| rings.of(Span::Minute).iter().count() > 0);
    let bucket = rings.unwrap().of(Span::Minute).get(5).unwrap().clone();
    let mut fresh = Rings::default();
    for (place, is_row) in [(4, false), (61, false), (5, true)] {
        assert_eq!(fresh.of_mut(Span::Minute).load(place, bucket.clone()), is_row, "{place}");
    }
}

#[test]
fn twenty_thousand_recorded_edits() {
    use agon_schema::wikimedia::{Line, parse};
    let Some(lines) = text("wikimedia-edits-2015/recentchange_shaped.jsonl.gz") else { return };
    let mut events = Vec::new();
    for line in lines.lines() {
        if let Ok(Line::Change(event)) = parse(line.as_bytes()) {
            events.push(event);
        }
    }
    let mut stream = Stream::default();
    events.iter().for_each(|event| stream.observe(event));
    for span in Span::ALL {
        let window = stream.window(span, end_of_time());
        if window.distinct_users_error() == 0.0 {
            check(&stream, &events, span);
        }
        let inside =
            events.iter().filter(|event| event.occurred_at.micros() >= window.from_micros());
        let users: BTreeSet<_> = inside.clone().filter_map(|event| event.user.as_ref()).collect();
        assert_eq!(window.messages, inside.count() as u64);
        let off = (window.distinct_users as f64 / users.len() as f64 - 1.0).abs();
        assert!(off <= 4.0 * window.distinct_users_error(), "{span:?}: {off}");
    }
}
