//! The suite of [`StoreInspector`]: it shows what a [`ProjectionStore`] holds, byte for byte.

use std::sync::Arc;

use agon_projections::row_bytes::{Prefix, prefix_bytes};
use agon_projections::{RowKey, Table};
use async_trait::async_trait;

use super::projection_store_rows::{Model, entrants, environment, keys, matches};
use crate::{ProjectionStore, StoreInspector};

/// Gives the suite one store, which is empty at first, and the inspector of the same store.
#[async_trait]
pub trait StoreInspectorFixture: Send {
    /// Opens both; called once.
    async fn open(&mut self) -> (Arc<dyn ProjectionStore>, Arc<dyn StoreInspector>);
}

/// Makes the tests that every [`StoreInspector`] passes:
/// `store_inspector_conformance!(make_fixture);`, where the function answers a
/// [`StoreInspectorFixture`](crate::conformance::store_inspector::StoreInspectorFixture).
#[macro_export]
macro_rules! store_inspector_conformance {
    ($make:expr $(, skipped_when: $is_absent:expr)?) => {
        $crate::conformance_cases! {
            store_inspector_conformance,
            $make $(, skipped_when: $is_absent)?;
            store_inspector::an_empty_store_has_no_entries,
            store_inspector::values_are_the_bytes_of_the_rows,
            store_inspector::entries_are_the_rows_of_a_prefix_rising,
            store_inspector::entries_page_by_after_and_limit,
            store_inspector::a_flush_is_seen_at_once,
        }
    };
}

fn table(table: Table) -> Vec<u8> {
    prefix_bytes(&Prefix::Table(table))
}

/// Every entry of a table, read in one go.
async fn all(inspector: &dyn StoreInspector, of: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    inspector.entries(table(of), None, 100_000).await.expect("entries answers")
}

async fn check(inspector: &dyn StoreInspector, model: &Model) {
    for of in Table::ALL {
        assert!(all(inspector, of).await == model.bytes(of), "{}", of.name());
    }
}

async fn filled(store: &dyn ProjectionStore) -> Model {
    let mut model = Model::default();
    for cell in ["go", "go-9", "g"].map(environment) {
        for id in ["a", "ab", "é"] {
            let to = model.applied(matches(0)).map_or(5, |applied| applied + 5);
            model.flush(store, matches(0), to, keys(&cell, id, matches(0), to)).await;
        }
    }
    model
}

/// Nothing is under any table before the first flush.
pub async fn an_empty_store_has_no_entries(mut fixture: impl StoreInspectorFixture) {
    let (_store, inspector) = fixture.open().await;
    check(&*inspector, &Model::default()).await;
    let asked = Table::ALL.map(table).to_vec();
    let values = inspector.values(asked).await.expect("values answers");
    assert_eq!(values, [const { None }; Table::ALL.len()]);
}

/// A value is what `row_bytes` made of it and stands where its key was asked; a key that only
/// starts like another has none.
pub async fn values_are_the_bytes_of_the_rows(mut fixture: impl StoreInspectorFixture) {
    let (store, inspector) = fixture.open().await;
    let model = filled(&*store).await;
    let (mut asked, mut expected) = (Vec::new(), Vec::new());
    for (key, value) in Table::ALL.into_iter().rev().flat_map(|table| model.bytes(table)) {
        let longer = [&key[..], &[0]].concat();
        asked.extend([key.clone(), longer, key]);
        expected.extend([Some(value.clone()), None, Some(value)]);
    }
    let values = inspector.values(asked.clone()).await.expect("values answers");
    assert!(values == expected, "all at once");
    for (key, value) in asked.into_iter().zip(expected) {
        assert_eq!(inspector.values(vec![key]).await.expect("values answers"), [value]);
    }
    assert_eq!(inspector.values(vec![]).await.expect("values answers"), []);
}

/// A prefix of bytes has its keys and no others, also where it ends within a part of the key.
pub async fn entries_are_the_rows_of_a_prefix_rising(mut fixture: impl StoreInspectorFixture) {
    let (store, inspector) = fixture.open().await;
    let model = filled(&*store).await;
    check(&*inspector, &model).await;
    let entrants = model.bytes(Table::Entrants);
    let (last, _) = entrants.last().expect("the model has entrants");
    for length in table(Table::Entrants).len()..=last.len() {
        let prefix = last[..length].to_vec();
        let mut expected = entrants.clone();
        expected.retain(|(key, _)| key.starts_with(&prefix));
        let found = inspector.entries(prefix, None, 1_000).await.expect("entries answers");
        assert!(found == expected, "the first {length} bytes");
    }
}

/// Pages join to the whole, whatever their size.
pub async fn entries_page_by_after_and_limit(mut fixture: impl StoreInspectorFixture) {
    let (store, inspector) = fixture.open().await;
    let model = filled(&*store).await;
    let expected = model.bytes(Table::History);
    for limit in [1, 2, 4, 100] {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        loop {
            let after = found.last().map(|(key, _)| key.clone());
            let page = inspector.entries(table(Table::History), after, limit).await;
            let page = page.expect("entries answers");
            assert!(page.len() <= limit, "{} entries of {limit}", page.len());
            if page.is_empty() {
                break;
            }
            found.extend(page);
            assert!(found.len() <= expected.len(), "by {limit}");
        }
        assert!(found == expected, "by {limit}");
    }
}

/// What a flush wrote is seen as soon as it was answered, the newest version of it.
pub async fn a_flush_is_seen_at_once(mut fixture: impl StoreInspectorFixture) {
    let (store, inspector) = fixture.open().await;
    let mut model = Model::default();
    for to in 1..=10 {
        let cell = environment("go");
        let keys = entrants(&cell, 20).into_iter().chain([RowKey::Head(cell)]);
        model.flush(&*store, matches(0), to, keys).await;
        check(&*inspector, &model).await;
    }
}
