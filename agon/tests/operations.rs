//! Holds docs/operations.md against the program: every limit with its default, every setting, a
//! heading for every alert, a test for every bad day. Each rule has a forged page that it refuses.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use support::{expect, stdout};

/// Crates whose limits an operator does not meet: test doubles, the demo's players.
const NOT_SHOWN: [&str; 5] = ["adapters/memory", "runner", "simulator", "target", "tests"];
const ALERTS: [&str; 8] = [
    "AgonLagGrows",
    "AgonDeadLetters",
    "AgonFlushFails",
    "AgonIntakeRefuses",
    "AgonNotReady",
    "AgonDiskNearlyFull",
    "AgonSourceSilent",
    "AgonTargetDown",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn page() -> String {
    read("docs/operations.md")
}

/// All files below the root with this ending, but for those that are not shown.
fn files(ending: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            let is_shown = !name.starts_with('.')
                && NOT_SHOWN.iter().all(|hidden| name != *hidden && !name.ends_with("/tests"));
            if path.is_dir() && is_shown {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found
}

/// The rows of the table under a heading, without its head.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let lines = page.lines().skip_while(|line| *line != heading).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('#'));
    let lines = lines.filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    lines.map(|line| line.split('|').map(str::trim).collect()).skip(1).collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// A number with its unit as the page writes it; times in milliseconds.
fn amount(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = match unit {
        "" | "ms" => 1.0,
        "s" => 1_000.0,
        "min" => 60_000.0,
        "KiB" => 1_024.0,
        "MiB" => 1_048_576.0,
        _ => return None,
    };
    Some(number.replace(',', "").parse::<f64>().ok()? * factor)
}

/// The value of an expression of the code, if it is a plain one; times in milliseconds.
fn value(name: &str, expression: &str) -> Option<f64> {
    let plain = |text: &str| text.trim().replace('_', "").parse::<f64>().ok();
    if let Some(rest) = expression.strip_prefix("Duration::from_secs(") {
        return Some(plain(rest.strip_suffix(')')?)? * 1_000.0);
    }
    let number = match expression.split_once(" << ") {
        Some((number, bits)) => plain(number)? * plain(bits)?.exp2(),
        None => plain(expression)?,
    };
    Some(if name.ends_with("_s") { number * 1_000.0 } else { number })
}

/// Every number in the defaults of every structure of limits: `Structure::field`.
fn defaults() -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for path in files(".rs") {
        let text = fs::read_to_string(path).unwrap();
        let made = text.split("impl Default for ").skip(1);
        let made =
            made.filter_map(|text| Some((text.split(' ').next()?, text.split("\n}\n").next()?)));
        let endings = ["Config", "Settings", "Limits", "Policy"];
        let made = made.filter(|(name, _)| endings.iter().any(|ending| name.ends_with(ending)));
        let source = text.split("Ok(SourceConfig {").nth(1);
        let source = source.map(|text| ("SourceConfig", text.split("})").next().unwrap()));
        for (name, block) in made.chain(source) {
            let mut within = String::new();
            for piece in block.split(['{', '}', ',', '\n']) {
                let Some((field, expression)) = piece.trim().split_once(": ") else { continue };
                if expression.trim() == "Rate" {
                    within = format!("{field}.");
                } else if let Some(value) = value(field, expression) {
                    found.insert(format!("{name}::{within}{field}"), value);
                }
            }
        }
    }
    found
}

/// The value of a constant: `FILE NAME`.
fn constant(place: &str) -> Option<f64> {
    let (file, name) = place.split_once(' ')?;
    let text = fs::read_to_string(root().join(file)).ok()?;
    let line = text.lines().find(|line| line.contains(&format!("const {name}: ")))?;
    value(name, line.split_once(" = ")?.1.strip_suffix(';')?)
}

/// Where the table of built-in limits is not what the code has.
fn wrong_limits(page: &str) -> Vec<String> {
    let (defaults, mut wrong) = (defaults(), Vec::new());
    assert!(defaults.len() > 40, "only {} limits were found", defaults.len());
    let mut named = Vec::new();
    for row in rows(page, "### Built in") {
        let (names, values) = (quoted(row[3]), row[1].split(" / ").collect::<Vec<_>>());
        if names.len() != values.len() {
            wrong.push(format!("{}: {} values of {} names", row[0], values.len(), names.len()));
        }
        for (name, shown) in names.iter().zip(values) {
            let real = defaults.get(*name).copied().or_else(|| constant(name));
            if real.is_none() || real != amount(shown) {
                wrong.push(format!("{name} is shown as {shown}, and is {real:?}"));
            }
        }
        named.extend(names);
    }
    let absent = defaults.iter().filter(|(name, _)| !named.contains(&name.as_str()));
    wrong.extend(absent.map(|(name, value)| format!("add a row for `{name}`, {value}")));
    wrong
}

/// Where the table of settings is not what `agon config print` says.
fn wrong_settings(page: &str) -> Vec<String> {
    let printed = stdout(&expect(0, &["config", "print"]));
    let printed = printed.lines().map(|line| {
        let (key, rest) = line.split_once(" = ").unwrap();
        let (value, _) = rest.rsplit_once("  # ").unwrap();
        (key.trim().replace('_', "-"), value.trim().to_owned())
    });
    let mut real: BTreeMap<String, String> = printed.collect();
    let mut wrong = Vec::new();
    for row in rows(page, "### Settings") {
        let name = row[0].trim_matches('`').trim_start_matches("--");
        let shown = match row[1] {
            "none" => "(none)",
            "empty" => "",
            shown => shown.trim_matches('`'),
        };
        match real.remove(name) {
            None => wrong.push(format!("--{name} is no setting")),
            Some(value) if value == shown => {}
            Some(value) => wrong.push(format!("--{name} is shown as {shown}, and is {value}")),
        }
    }
    let row = |(name, value): (String, String)| match value.as_str() {
        "(none)" => format!("add: | `--{name}` | none | what for |"),
        _ => format!("add: | `--{name}` | `{value}` | what for |"),
    };
    wrong.extend(real.into_iter().map(row));
    wrong
}

/// Bad days whose test is not there.
fn wrong_days(page: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let rows = rows(page, "## Bad days");
    assert!(rows.len() > 10);
    for row in rows {
        let names = quoted(row[2]);
        let is_there = |pair: &[&str]| {
            let text = fs::read_to_string(root().join(pair[0])).unwrap_or_default();
            pair.len() == 2 && text.contains(&format!("fn {}(", pair[1]))
        };
        if names.is_empty() || !names.chunks(2).all(is_there) {
            wrong.push(format!("{}: no test {names:?}", row[0]));
        }
    }
    wrong
}

/// Alerts, of the list and of the rules, without a heading; headings without an alert.
fn wrong_alerts(page: &str, rules: &[String]) -> Vec<String> {
    let names = rules.iter().flat_map(|text| text.lines());
    let names =
        names.filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("alert: "));
    let known: Vec<&str> = ALERTS.into_iter().chain(names.map(str::trim)).collect();
    let headings: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("### Agon")).collect();
    let absent = known.iter().filter(|name| !headings.contains(&name.trim_start_matches("Agon")));
    let absent = absent.map(|name| format!("no heading for {name}"));
    let other = headings.iter().filter(|name| !known.contains(&format!("Agon{name}").as_str()));
    absent.chain(other.map(|name| format!("no alert Agon{name}"))).collect()
}

/// Relative links to files that are not there.
fn wrong_links(page: &str) -> Vec<String> {
    let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = links.filter(|link| !link.starts_with('#') && !link.contains("://"));
    files.filter(|link| !root().join("docs").join(link).exists()).map(str::to_owned).collect()
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "docs/operations.md:\n{}", wrong.join("\n"));
}

#[test]
fn the_page_is_what_the_program_is() {
    let page = page();
    none(&wrong_limits(&page));
    none(&wrong_settings(&page));
    none(&wrong_days(&page));
    none(&wrong_links(&page));
    let files = [files(".yml"), files(".yaml")].concat();
    let rules: Vec<String> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    none(&wrong_alerts(&page, &rules));
    assert!(read("README.md").contains("(docs/operations.md)"), "README.md links to it");
}

#[test]
fn a_page_that_drifted_is_found() {
    let page = page();
    let forged = |from: &str, to: &str| {
        assert!(page.contains(from), "{from} is not on the page");
        page.replacen(from, to, 1)
    };
    let limits = wrong_limits(&forged("| 4,096 / 1,024 |", "| 4,096 / 1,025 |"));
    assert_eq!(limits.len(), 1, "{limits:?}");
    let limits = wrong_limits(&forged("`ApiConfig::loads_max`", "`ApiConfig::loads`"));
    assert_eq!(limits.len(), 2, "{limits:?}");
    let settings = wrong_settings(&forged("| `--workers` | `2` |", "| `--workers` | `3` |"));
    assert_eq!(settings.len(), 1, "{settings:?}");
    let settings = wrong_settings(&forged("| `--workers` | `2` |", "| `--work` | `2` |"));
    assert_eq!(settings.len(), 2, "{settings:?}");
    assert_eq!(wrong_days(&forged("`topics_made_anew", "`topics_made")).len(), 1);
    assert_eq!(wrong_alerts(&forged("### AgonNotReady", "### AgonReady"), &[]).len(), 2);
    let rule = "  - alert: AgonElse\n".to_owned();
    assert_eq!(wrong_alerts(&page, &[rule]), ["no heading for AgonElse"]);
    assert_eq!(wrong_links(&forged("(measurements.md)", "(nothing.md)")), ["nothing.md"]);
}
