//! A caller that tries again survives every fault: what was acknowledged is there, and every
//! fault that the plan can hold really happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agon_memory::{Fault, FaultRates, Faults, Faulty, LogSettings, MemoryControl, MemoryLog};
use agon_ports::{Append, Assignment, ControlStore, EventLog, LogRecord, Put, ReadLimits};
use agon_schema::{Position, Record, Topic, TopicPartition};

/// Tries that a caller makes at most before a test gives up.
const TRIES_MAX: usize = 100;
const WIDE: ReadLimits = ReadLimits { records_max: 1_000, bytes_max: 1 << 20 };

fn target(number: usize) -> TopicPartition {
    TopicPartition { topic: Topic::Matches, partition: (number % 3) as u32 }
}

fn appends(first: usize, count: usize) -> Vec<Append> {
    let record = |number: usize| Record {
        key: b"key".to_vec(),
        headers: vec![],
        value: number.to_string().into_bytes(),
        appended_at_ms: 0,
    };
    (first..first + count)
        .map(|number| Append { target: target(number), record: record(number) })
        .collect()
}

/// Appends until it is acknowledged: at least once. Heals what has crashed.
async fn append_until_acknowledged(log: &Faulty<MemoryLog>, records: &[Append]) -> Vec<Position> {
    for _ in 0..TRIES_MAX {
        match log.append(records.to_vec()).await {
            Ok(positions) => return positions,
            Err(_) => log.faults().heal(),
        }
    }
    panic!("no answer in {TRIES_MAX} tries")
}

/// Everything in the log, read through the faults.
async fn read_through(log: &Faulty<MemoryLog>) -> Vec<LogRecord> {
    let ends = log.inner().ends().await.expect("the log in memory answers");
    let from: Assignment = ends.keys().map(|source| (*source, 0)).collect();
    let total: u64 = ends.values().sum();
    let mut reader = None;
    let mut records = Vec::new();
    while (records.len() as u64) < total {
        match &mut reader {
            None => match log.read(from.clone()).await {
                Ok(opened) => reader = Some(opened),
                Err(_) => log.faults().heal(),
            },
            Some(reader) => match reader.next(WIDE, Duration::ZERO).await {
                Ok(more) => records.extend(more),
                Err(_) => log.faults().heal(),
            },
        }
    }
    records
}

async fn at_least_once(seed: u64, faults: &Arc<Faults>) {
    let memory = MemoryLog::new(LogSettings::default());
    let log = Faulty::new(memory, Arc::clone(faults));
    let mut acknowledged = Vec::new();
    for call in 0..100 {
        let records = appends(call * 6, 6);
        let positions = append_until_acknowledged(&log, &records).await;
        acknowledged.extend(records.into_iter().zip(positions));
    }
    let read = read_through(&log).await;
    let mut next: BTreeMap<TopicPartition, u64> = BTreeMap::new();
    for LogRecord { position, .. } in &read {
        let offset = next.entry(position.source).or_default();
        assert_eq!(position.offset, *offset, "seed {seed}");
        *offset += 1;
    }
    let held: BTreeMap<Position, Record> =
        read.into_iter().map(|read| (read.position, read.record)).collect();
    for (append, position) in &acknowledged {
        assert_eq!(held.get(position), Some(&append.record), "seed {seed}");
    }
}

#[tokio::test]
async fn an_appender_that_tries_again_ends_with_every_acknowledged_record_in_the_log() {
    let mut injected = [0; Fault::ALL.len()];
    for seed in 0..20 {
        let faults = Faults::new(seed, FaultRates::all(60, 60));
        at_least_once(seed, &faults).await;
        for (sum, fault) in injected.iter_mut().zip(Fault::ALL) {
            *sum += faults.count(fault);
        }
    }
    for (count, fault) in injected.iter().zip(Fault::ALL) {
        assert!(*count > 0, "{fault:?} never happened");
    }
}

/// One append behind faults that always strike: whether it was acknowledged, and what it left.
async fn strike(rates: FaultRates) -> (bool, usize) {
    let log = Faulty::new(MemoryLog::new(LogSettings::default()), Faults::new(5, rates));
    let acknowledged = log.append(appends(0, 6)).await.is_ok();
    let ends = log.inner().ends().await.expect("the log in memory answers");
    (acknowledged, ends.values().sum::<u64>() as usize)
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let none = FaultRates::default();
    for (rates, acknowledged, left) in [
        (none, true, 6),
        (FaultRates { delay_per_mille: 1000, ..none }, true, 6),
        (FaultRates { refuse_per_mille: 1000, ..none }, false, 0),
        (FaultRates { lose_answer_per_mille: 1000, ..none }, false, 6),
        (FaultRates { part_per_mille: 1000, ..none }, false, 3),
        (FaultRates { twice_per_mille: 1000, ..none }, true, 12),
    ] {
        assert_eq!(strike(rates).await, (acknowledged, left), "{rates:?}");
    }
}

#[tokio::test]
async fn a_crash_fails_every_port_behind_it_until_it_is_healed() {
    let rates = FaultRates { crash_per_mille: 1000, ..FaultRates::default() };
    let mut left = Vec::new();
    for seed in 0..20 {
        let faults = Faults::new(seed, rates);
        let log = Faulty::new(MemoryLog::new(LogSettings::default()), Arc::clone(&faults));
        let control = Faulty::new(MemoryControl::default(), Arc::clone(&faults));
        log.append(appends(0, 1)).await.unwrap_err();
        assert!(faults.is_crashed());
        let error = control.get("key").await.unwrap_err();
        assert_eq!(error.to_string(), "look up \"key\": the other side is down (injected)");
        log.ends().await.unwrap_err();
        assert_eq!(faults.calls(), 1, "calls while down are no calls of the plan");
        left.push(log.inner().ends().await.unwrap().values().sum::<u64>());
        faults.heal();
        assert!(!faults.is_crashed());
    }
    assert!(left.contains(&0) && left.contains(&1), "before and after the append: {left:?}");
}

#[tokio::test]
async fn a_reader_loses_nothing_to_a_crash() {
    let faults = Faults::new(0, FaultRates::default());
    let log = Faulty::new(MemoryLog::new(LogSettings::default()), Arc::clone(&faults));
    log.append(appends(0, 9)).await.unwrap();
    let mut reader = log.read([(target(0), 0)].into()).await.unwrap();
    let one = ReadLimits { records_max: 1, ..WIDE };
    for offset in 0..3 {
        faults.crash();
        reader.next(one, Duration::ZERO).await.unwrap_err();
        faults.heal();
        let records = reader.next(one, Duration::ZERO).await.unwrap();
        let offsets: Vec<_> = records.iter().map(|read| read.position.offset).collect();
        assert_eq!(offsets, [offset]);
    }
}

#[tokio::test]
async fn a_count_by_compare_and_set_is_right_when_answers_are_lost() {
    let mut unanswered = 0;
    for seed in 0..20 {
        let faults = Faults::new(seed, FaultRates::all(80, 40));
        let store = Faulty::new(MemoryControl::default(), Arc::clone(&faults));
        let mut stored = 0;
        while stored < 50 {
            faults.heal();
            // The version says whether the put whose answer was lost was done.
            let Ok(before) = store.get("count").await else { continue };
            stored = before.map_or(0, |before| before.version);
            if stored < 50 {
                let value = [stored as u8 + 1];
                if let Ok(answer) = store.put("count", &value, stored).await {
                    assert_eq!(answer, Put::Stored(stored + 1), "seed {seed}");
                }
            }
        }
        let count = store.inner().get("count").await.unwrap().unwrap();
        assert_eq!((count.version, count.value), (50, vec![50]), "seed {seed}");
        unanswered += faults.count(Fault::LoseAnswer) + faults.count(Fault::CrashAfter);
    }
    assert!(unanswered > 0, "no answer was ever lost");
}
