//! The rows of one path, as the gate looks them up.

use std::time::Duration;

use axum::http::Method;

use crate::http_metrics::RouteMetrics;
use crate::policy::{PolicyRow, Who};

/// One served method of a path.
pub(crate) struct Row {
    pub method: Method,
    pub who: Who,
    pub body_bytes_max: u64,
    pub time_max: Duration,
    pub metrics: RouteMetrics,
}

/// All served methods of a path.
#[derive(Default)]
pub(crate) struct PathRows {
    rows: Vec<Row>,
}

impl PathRows {
    /// Adds a row, unless its method has one.
    pub fn add(&mut self, row: Row) -> bool {
        let is_new = self.rows.iter().all(|known| known.method != row.method);
        if is_new {
            self.rows.push(row);
            self.rows.sort_by(|a, b| a.method.as_str().cmp(b.method.as_str()));
        }
        is_new
    }

    /// The rows as the policy table shows them.
    pub fn policy(&self, path: &str) -> Vec<PolicyRow> {
        let row = |row: &Row| PolicyRow {
            method: row.method.clone(),
            path: path.to_owned(),
            who: row.who,
        };
        self.rows.iter().map(row).collect()
    }

    /// HEAD is served by the row of GET.
    pub fn of(&self, method: &Method) -> Option<&Row> {
        let asked = if method == Method::HEAD { &Method::GET } else { method };
        self.rows.iter().find(|row| row.method == *asked)
    }

    /// What `Allow` says.
    pub fn allow(&self) -> String {
        let mut methods: Vec<&str> = self.rows.iter().map(|row| row.method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.join(", ")
    }
}
