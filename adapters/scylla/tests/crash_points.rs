//! A process that dies at each step of a flush: readers see whole cells, and the heir, who cuts the
//! log in another way, ends with the same rows.
#![cfg(feature = "crash_points")]
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, Mutex};

use agon_ports::ProjectionStore;
use agon_scylla::StoreSettings;

use self::support::fold::{check, check_whole, flush};
use self::support::{Keyspace, is_absent};

const STEPS: [&str; 5] = [
    "flush.before",
    "flush.after_side_rows",
    "flush.after_cells",
    "flush.before_progress",
    "flush.after_progress",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_heir_ends_what_a_dying_owner_began() {
    if is_absent() {
        return;
    }
    let keyspace = Keyspace::new();
    keyspace.init().await;
    let reader = keyspace.open().await;
    let (mut at, mut steps) = (None, Vec::new());
    for (round, dies_at) in STEPS.into_iter().enumerate() {
        let reached = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&reached);
        let crash_point = Some(Arc::new(move |step: &'static str| {
            note.lock().unwrap().push(step);
            // A step that nobody named above is none to go through alive either.
            assert!(step != dies_at && STEPS.contains(&step), "the process dies here");
        }) as agon_scylla::CrashPoint);
        let settings = StoreSettings { crash_point, ..StoreSettings::default() };
        let dying = keyspace.open_with(settings).await;
        let to = (round as u64 + 1) * 60;
        let sent = tokio::spawn(async move { dying.flush(flush(at, to)).await });
        assert!(sent.await.unwrap_err().is_panic(), "{dies_at} is not reached");
        let seen = check(&reader).await;
        assert_eq!(seen, if dies_at == "flush.after_progress" { Some(to) } else { at });
        steps.push(std::mem::take(&mut *reached.lock().unwrap()));
        // The heir begins where the store stands and cuts elsewhere.
        let heir = keyspace.open().await;
        let mut from = seen;
        while from < Some(to) {
            let next = (from.map_or(0, |from| from + 1) + 16).min(to);
            heir.flush(flush(from, next)).await.unwrap();
            from = Some(next);
            check(&reader).await;
        }
        check_whole(&reader, to).await;
        at = Some(to);
    }
    // Last: what readers saw is what the order is for, and must fail by itself without it.
    assert_eq!(steps, [1, 2, 3, 4, 5].map(|count| STEPS[..count].to_vec()));
}
