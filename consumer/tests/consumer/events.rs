//! Seeded streams of records of every kind, good and bad, as a log would hold them.

use agon_ports::Append;
use agon_schema::event::{
    Aggregation, BenchmarkDefined, Context, Direction, EnvironmentDefined, MatchFinished, Metrics,
    Player, Players, RecentChange, RunScored, RunStatus, SubmissionReceived,
};
use agon_schema::ids::MetricName;
use agon_schema::rating::{Elo, KStep, RatingSystem};
use agon_schema::{
    AgentId, BenchmarkId, EnvironmentId, Event, EventTime, NaturalId, Record, Timestamp, Topic,
    TopicPartition, codec, encode,
};

/// Partitions of every topic in these tests.
pub const PARTITIONS: u32 = 4;

/// When the first record was appended, in milliseconds since the epoch.
pub const FIRST_APPENDED_AT_MS: i64 = 1_000_000;

/// Chance by a seed (SplitMix64).
pub struct Chance(pub u64);

impl Chance {
    /// A number from 0 to `end`, exclusive.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn occurred(&mut self) -> EventTime {
        let micros = 1_700_000_000_000_000 + self.below(1_000_000) as i64;
        EventTime { at: Timestamp::from_micros(micros).unwrap(), filled_in: self.percent(30) }
    }
}

/// `count` records with their partitions; the same seed gives the same.
pub fn stream(seed: u64, count: usize) -> Vec<Append> {
    let mut chance = Chance(seed);
    let mut appends: Vec<Append> = Vec::with_capacity(count);
    while appends.len() < count {
        let appended_at_ms = FIRST_APPENDED_AT_MS + appends.len() as i64;
        let mut append = match chance.below(100) {
            0..12 if !appends.is_empty() => {
                appends[chance.below(appends.len() as u64) as usize].clone()
            }
            12..20 => bad(&mut chance),
            _ => append(&event(&mut chance), appended_at_ms),
        };
        append.record.appended_at_ms = appended_at_ms;
        if chance.percent(3) {
            append.target.partition = (append.target.partition + 1) % PARTITIONS;
        }
        if chance.percent(1) {
            append.target.topic = chance.one(&Topic::ALL);
        }
        appends.push(append);
    }
    appends
}

/// The record of an event in the partition of its key.
pub fn append(event: &Event, appended_at_ms: i64) -> Append {
    let target = TopicPartition::of_key(event.topic(), event.key().as_bytes(), PARTITIONS);
    Append { target, record: encode(event, "test", appended_at_ms) }
}

fn event(chance: &mut Chance) -> Event {
    match chance.below(100) {
        0..8 => defined_environment(chance),
        8..16 => defined_benchmark(chance),
        16..46 => {
            let environment = format!("e{}", chance.below(7));
            let match_id = format!("m{}", chance.below(400));
            match_finished(chance, &environment, &match_id)
        }
        46..60 => submission(chance),
        60..72 => run(chance),
        _ => recent_change(chance),
    }
}

/// A definition of one of six environments; matches name a seventh.
fn defined_environment(chance: &mut Chance) -> Event {
    let number = chance.below(6);
    // Most definitions of one environment are the same, so that they are duplicates.
    let step = KStep { below_games: Some(3), k: 40.0 };
    let last = KStep { below_games: None, k: 20.0 + number as f64 };
    let floor = chance.percent(20).then_some(1_490.0);
    let elo = Elo::new(1_500.0, vec![step, last], floor, 30.0 * (number % 2) as f64, 0.5).unwrap();
    Event::EnvironmentDefined(EnvironmentDefined {
        id: EnvironmentId::new(format!("e{number}")).unwrap(),
        version: if chance.percent(10) { 2 } else { 1 },
        rating: RatingSystem::Elo(elo),
    })
}

/// A definition of one of six benchmarks, alike every time; submissions name a seventh.
fn defined_benchmark(chance: &mut Chance) -> Event {
    let number = chance.below(6);
    let kinds = [Aggregation::Best, Aggregation::Last, Aggregation::Mean, Aggregation::Sum];
    let directions = [Direction::Higher, Direction::Lower];
    Event::BenchmarkDefined(BenchmarkDefined {
        id: BenchmarkId::new(format!("b{number}")).unwrap(),
        version: if chance.percent(10) { 2 } else { 1 },
        metric: MetricName::new("accuracy").unwrap(),
        direction: directions[number as usize % 2],
        aggregation: kinds[number as usize % 4],
    })
}

/// A match of 2 to 5 of twelve agents.
pub fn match_finished(chance: &mut Chance, environment: &str, match_id: &str) -> Event {
    let (first, count) = (chance.below(12), 2 + chance.below(4));
    let player = |number: u64| Player {
        agent: AgentId::new(format!("agent {}", (first + number) % 12)).unwrap(),
        placement: 1 + chance.below(3) as u32,
        score: chance.percent(50).then(|| chance.below(100) as f64 / 8.0),
        home: number == 0,
    };
    let players = Players::new((0..count).map(player).collect()).unwrap();
    Event::MatchFinished(MatchFinished {
        environment: EnvironmentId::new(environment).unwrap(),
        match_id: NaturalId::new(match_id).unwrap(),
        players,
        occurred: chance.occurred(),
        context: chance.percent(10).then(|| Context::new(r#"{"round":"final"}"#).unwrap()),
    })
}

fn metrics(chance: &mut Chance) -> Metrics {
    let name = if chance.percent(90) { "accuracy" } else { "speed" };
    let value = chance.below(10_000) as f64 / 7.0;
    Metrics::new([(name.to_owned(), value)]).unwrap()
}

fn submission(chance: &mut Chance) -> Event {
    let number = chance.below(150);
    Event::SubmissionReceived(SubmissionReceived {
        benchmark: BenchmarkId::new(format!("b{}", number % 7)).unwrap(),
        submission_id: NaturalId::new(format!("s{number}")).unwrap(),
        agent: AgentId::new(format!("agent {}", number % 12)).unwrap(),
        metrics: if chance.percent(50) { metrics(chance) } else { Metrics::default() },
        artifact: chance.percent(50).then(|| "file:///artifact".to_owned()),
        occurred: chance.occurred(),
    })
}

fn run(chance: &mut Chance) -> Event {
    let number = chance.below(150);
    let failed = chance.percent(20);
    Event::RunScored(RunScored {
        benchmark: BenchmarkId::new(format!("b{}", number % 7)).unwrap(),
        submission_id: NaturalId::new(format!("s{number}")).unwrap(),
        run_id: NaturalId::new(format!("r{}", chance.below(4))).unwrap(),
        status: if failed { RunStatus::Failed } else { RunStatus::Completed },
        metrics: metrics(chance),
        occurred: chance.occurred(),
    })
}

fn recent_change(chance: &mut Chance) -> Event {
    let number = chance.below(300);
    Event::RecentChange(RecentChange {
        id: NaturalId::new(format!("c{number}")).unwrap(),
        occurred_at: Timestamp::from_micros(number as i64).unwrap(),
        user: chance.percent(90).then(|| format!("user {}", number % 25)),
        bot: chance.one(&[None, Some(true), Some(false)]),
        server_name: chance.percent(90).then(|| format!("{}.example.org", number % 9)),
        change_type: Some("edit".to_owned()),
        title: None,
        namespace: None,
        minor: None,
        length_old_bytes: None,
        length_new_bytes: None,
        wiki: None,
    })
}

/// A record that is no event, or one that only a lenient reader understands.
fn bad(chance: &mut Chance) -> Append {
    let topic = chance.one(&Topic::ALL);
    let target = TopicPartition { topic, partition: chance.below(PARTITIONS.into()) as u32 };
    let line = |line: &str| codec::encode_malformed_change(line.as_bytes(), "test", 0);
    let mut record = match chance.below(6) {
        0 => line("{"),
        1 => line(r#"{"meta":{"dt":"2026-11-21T10:00:00Z","domain":"canary"}}"#),
        2 => line(r#"{"meta":{"dt":"2026-11-21T10:00:00Z","id":"by-json"},"user":"user 1"}"#),
        3 => Record { key: vec![0xff], headers: vec![], value: vec![1, 2, 3], appended_at_ms: 0 },
        _ => encode(&event(chance), "test", 0),
    };
    match chance.below(4) {
        0 => record.value.push(0xff),
        1 => record.value.clear(),
        2 => record.headers.iter_mut().filter(|(name, _)| name == "ce_type").for_each(|header| {
            header.1 = b"agon.unknown.v9".into();
        }),
        _ => {}
    }
    Append { target, record }
}
