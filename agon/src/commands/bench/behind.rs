//! How far API processes are behind the log, while matches come at half of the full speed.

use std::time::{Duration, Instant};

use super::child::Server;
use super::deployment::{Deployment, get, metrics, ready, until};
use super::http::client;
use super::workload::Workload;
use crate::cli::BenchBehind;
use crate::exit::Exit;
use crate::output;

/// API processes.
const APIS: usize = 2;
/// Pause between two looks at the gauge.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Load before anything is looked at.
const WARM: Duration = Duration::from_secs(3);
/// From appending to visible, of every flush.
const LATENCY: &str = "agon_visible_latency_seconds";
/// The same of the last flush.
const BEHIND: &str = "agon_api_behind_seconds";

/// Measures and prints the percentiles of each API process.
///
/// # Errors
/// When a server or a role is away.
pub async fn run(options: &BenchBehind) -> Result<(), Exit> {
    let (servers, http) = (&options.servers, client()?);
    let deployment = Deployment::make(&servers.log, Some(&servers.store)).await?;
    let (agents, environments) = (options.matches.agents as usize, options.matches.environments);
    let mut workload = Workload::spread(0, agents, environments)?;
    deployment.define(&workload).await?;
    let consumer = deployment.role("consumer", &[])?;
    ready(&http, &consumer).await?;
    let full = full_speed(&deployment, &http, &consumer, &mut workload, options.events).await?;
    let mut apis = Vec::new();
    for _ in 0..APIS {
        let api = deployment.role("api", &[])?;
        ready(&http, &api).await?;
        for environment in workload.environments() {
            let path = format!("/leaderboard?environment={environment}&limit=1");
            until("a board is loaded", async || {
                Ok(get(&http, &api, &path).await["total"].is_u64().then_some(()))
            })
            .await?;
        }
        apis.push(api);
    }
    let half = (full / 2.0) as u64;
    let _load = deployment.load(workload, half);
    tokio::time::sleep(WARM).await;
    let seen = watch(&http, &apis, options.time).await?;
    output::line(format_args!(
        "behind: {APIS} api processes with {environments} boards, one consumer; full speed \
         {full:.0} matches/s, load {half}/s for {} s.\nmilliseconds from a record's appending \
         until readers see it: of every flush by its histogram, and of the gauge every {} ms\n\
         {:<8} {:>9} {:>9} {:>9} {:>13} {:>13}",
        options.time.as_secs(),
        LOOK_EVERY.as_millis(),
        "process",
        "flushes",
        "p50 ms",
        "p99 ms",
        "gauge p50 ms",
        "gauge p99 ms"
    ))?;
    for (number, mut seen) in seen.into_iter().enumerate() {
        seen.samples_s.sort_by(f64::total_cmp);
        let sampled_ms = |share: f64| {
            let at = (seen.samples_s.len().saturating_sub(1) as f64 * share) as usize;
            seen.samples_s.get(at).copied().unwrap_or(f64::NAN) * 1_000.0
        };
        let flushes = seen.buckets.last().map_or(0.0, |(_, count)| *count);
        output::line(format_args!(
            "api {:<4} {flushes:>9.0} {:>9.1} {:>9.1} {:>13.1} {:>13.1}",
            number + 1,
            quantile(&seen.buckets, 0.5) * 1_000.0,
            quantile(&seen.buckets, 0.99) * 1_000.0,
            sampled_ms(0.5),
            sampled_ms(0.99)
        ))?;
    }
    Ok(())
}

/// Matches a second from the first append of a burst until all are stored.
async fn full_speed(
    deployment: &Deployment,
    http: &reqwest::Client,
    consumer: &Server,
    workload: &mut Workload,
    events: u64,
) -> Result<f64, Exit> {
    let started = Instant::now();
    deployment.fill(workload, events).await?;
    until("the burst is folded", async || {
        let status = get(http, consumer, "/status").await;
        let is_done = status["lag_records"] == 0 && status["records"].as_u64() >= Some(events);
        Ok(is_done.then_some(()))
    })
    .await?;
    Ok(events as f64 / started.elapsed().as_secs_f64())
}

/// What one process showed.
struct Seen {
    /// Upper limits in seconds with the flushes up to each.
    buckets: Vec<(f64, f64)>,
    samples_s: Vec<f64>,
}

/// Watches all of them for so long.
async fn watch(http: &reqwest::Client, apis: &[Server], time: Duration) -> Result<Vec<Seen>, Exit> {
    let mut before = Vec::new();
    for api in apis {
        before.push(buckets(&metrics(http, api).await?));
    }
    let (started, mut samples) = (Instant::now(), vec![Vec::new(); apis.len()]);
    while started.elapsed() < time {
        for (api, samples) in apis.iter().zip(&mut samples) {
            samples.extend(gauge(&metrics(http, api).await?, BEHIND));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let mut seen = Vec::new();
    for ((api, before), samples_s) in apis.iter().zip(before).zip(samples) {
        let after = buckets(&metrics(http, api).await?).into_iter();
        let since = after.zip(before).map(|((limit, now), (_, then))| (limit, now - then));
        seen.push(Seen { buckets: since.collect(), samples_s });
    }
    Ok(seen)
}

/// The value of a metric, by its name with its labels.
pub fn gauge(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// The buckets of the latency: upper limits in seconds, each with the count up to it.
fn buckets(metrics: &str) -> Vec<(f64, f64)> {
    let of = |line: &str| {
        let rest = line.strip_prefix(LATENCY)?.strip_prefix("_bucket{le=\"")?;
        let (limit, count) = rest.split_once("\"} ")?;
        let limit = if limit == "+Inf" { f64::INFINITY } else { limit.parse().ok()? };
        Some((limit, count.parse().ok()?))
    };
    metrics.lines().filter_map(of).collect()
}

/// The value that this share of all lies below, taken as evenly spread within its bucket.
fn quantile(buckets: &[(f64, f64)], share: f64) -> f64 {
    let target = buckets.last().map_or(0.0, |(_, count)| *count) * share;
    let (mut lower, mut below) = (0.0, 0.0);
    for (limit, count) in buckets {
        if *count >= target && *count > below {
            let inside = (target - below) / (count - below);
            return if limit.is_finite() { lower + (limit - lower) * inside } else { lower };
        }
        (lower, below) = (*limit, *count);
    }
    f64::NAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_and_quantiles_lie_within_them() {
        let text = "# HELP agon_visible_latency_seconds x\n\
            agon_visible_latency_seconds_bucket{le=\"0.01\"} 50\n\
            agon_visible_latency_seconds_bucket{le=\"0.02\"} 90\n\
            agon_visible_latency_seconds_bucket{le=\"+Inf\"} 100\n\
            agon_visible_latency_seconds_count 100\nagon_api_behind_seconds 0.25\n";
        let buckets = buckets(text);
        assert_eq!(buckets, [(0.01, 50.0), (0.02, 90.0), (f64::INFINITY, 100.0)]);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(quantile(&buckets, 0.25), 0.005));
        assert!(near(quantile(&buckets, 0.5), 0.01));
        assert!(near(quantile(&buckets, 0.7), 0.015));
        assert!(near(quantile(&buckets, 0.99), 0.02), "the last limit is the least it can be");
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(gauge(text, BEHIND), Some(0.25));
        assert_eq!(gauge(text, "agon_api"), None);
    }
}
