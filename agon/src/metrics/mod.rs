//! What a process of any role shows beside what its services count: what it is, whether it is
//! ready and what it waits for, and what the system gives it.

mod disk;

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

pub use disk::Disk;

use crate::readiness::Check;
use crate::traces;

/// The gauges that are set at each scrape.
#[derive(Clone)]
pub struct OpsMetrics {
    ready: IntGauge,
    checks: IntGaugeVec,
}

impl OpsMetrics {
    /// Registers them, with `agon_build_info` and what the system says of the process.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<OpsMetrics, prometheus::Error> {
        let opts = Opts::new("agon_build_info", "The running version; always 1.");
        let info = IntGaugeVec::new(opts, &["version", "fold_version"])?;
        registry.register(Box::new(info.clone()))?;
        let fold_version = agon_projections::FOLD_VERSION.to_string();
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), &fold_version]).set(1);
        registry.register(Box::new(ProcessCollector::for_self()))?;
        traces::register(registry)?;
        let ready = IntGauge::new("agon_ready", "1 while /readyz answers 200.")?;
        let opts = Opts::new("agon_check_ok", "1 while this check of /readyz passes.");
        let checks = IntGaugeVec::new(opts, &["check", "required"])?;
        registry.register(Box::new(ready.clone()))?;
        registry.register(Box::new(checks.clone()))?;
        Ok(OpsMetrics { ready, checks })
    }

    /// Takes over what the checks of `/readyz` found now. Their names are a closed set.
    pub fn set_checks(&self, checks: &[Check]) {
        self.ready.set(i64::from(!checks.iter().any(Check::stops_requests)));
        for check in checks {
            let required = if check.required { "true" } else { "false" };
            self.checks.with_label_values(&[check.name, required]).set(i64::from(check.ok));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_fails_shows_and_only_a_required_one_makes_unready() {
        let registry = Registry::new();
        let metrics = OpsMetrics::register(&registry).unwrap();
        let check = |name, required, ok| {
            let found = if ok { Ok("answers".to_owned()) } else { Err("is away".to_owned()) };
            Check::of(name, required, found)
        };
        let shown = |log, store| {
            metrics.set_checks(&[check("log", true, log), check("store", false, store)]);
            let of = |name, required| metrics.checks.with_label_values(&[name, required]).get();
            (metrics.ready.get(), of("log", "true"), of("store", "false"))
        };
        assert_eq!(shown(true, true), (1, 1, 1));
        assert_eq!(shown(true, false), (1, 1, 0));
        assert_eq!(shown(false, false), (0, 0, 0));
        assert_eq!(shown(true, true), (1, 1, 1));
    }
}
