//! Holds the layers: from the manifests alone, a crate imports only to its left.
//!
//! `schema → projections → ports → {adapters, edge} → {producer, consumer, api, runner} → agon`.
//! Each rule has a negative control: a forged manifest that it must refuse.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Every crate of the workspace by layer; crates of one layer do not know each other.
const LAYERS: [&[&str]; 6] = [
    &["agon-schema"],
    &["agon-projections"],
    &["agon-ports"],
    &["agon-memory", "agon-embedded", "agon-kafka", "agon-scylla", "agon-edge"],
    &["agon-producer", "agon-consumer", "agon-api", "agon-runner"],
    &["agon", "agon-simulator"],
];

const ADAPTERS: [&str; 4] = ["agon-memory", "agon-embedded", "agon-kafka", "agon-scylla"];

/// What is known in one place: the crate, and the only members that name it, a line each.
const OWNED: [(&str, &str); 19] = [
    ("prost", "agon-schema"),
    ("prost-build", "agon-schema"),
    ("prost-types", "agon-schema"),
    ("protox", "agon-schema"),
    ("fjall", "agon-embedded"),
    ("rdkafka", "agon-kafka"),
    ("scylla", "agon-scylla"),
    ("jsonwebtoken", "agon-edge"),
    ("argon2", "agon-edge"),
    ("hmac", "agon-edge"),
    ("clap", "agon"),
    ("clap", "agon-simulator"),
    ("clap_complete", "agon"),
    ("indicatif", "agon"),
    ("tracing-subscriber", "agon"),
    ("tracing-opentelemetry", "agon"),
    ("opentelemetry", "agon"),
    ("opentelemetry_sdk", "agon"),
    ("opentelemetry-otlp", "agon"),
];

/// What tests alone may name beside the owner: a collector of traces reads what it is sent.
const OWNED_BUT_FOR_TESTS: [(&str, &str); 1] = [("prost", "agon")];

/// All that the pure folds build on: no runtime, no clock, no chance, no I/O. A crate joins this
/// list only when it is as pure.
const PROJECTIONS_MAY_NAME: [&str; 7] =
    ["agon-schema", "foldhash", "hashbrown", "libm", "postcard", "serde", "thiserror"];

/// What the folds' sources never say, for the standard library needs no manifest.
const PROJECTIONS_NEVER_SAY: [&str; 9] = [
    "std::time",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "SystemTime",
    "async fn",
    ".await",
];

/// One member's manifest, as far as it says who knows whom.
struct Manifest {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    /// Only tests, examples and benchmarks see it.
    for_tests: bool,
    from_workspace: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn workspace() -> Table {
    let manifest: Table = read(&root().join("Cargo.toml")).parse().unwrap();
    manifest["workspace"].as_table().unwrap().clone()
}

fn members() -> Vec<Manifest> {
    let folders = workspace()["members"].as_array().unwrap().clone();
    let folders = folders.iter().map(|folder| folder.as_str().unwrap());
    folders.map(|folder| parse(&read(&root().join(folder).join("Cargo.toml")))).collect()
}

fn parse(text: &str) -> Manifest {
    let table: Table = text.parse().unwrap();
    let name = table["package"]["name"].as_str().unwrap().to_owned();
    let mut dependencies = sections(&table);
    for (_, platform) in table.get("target").and_then(Value::as_table).into_iter().flatten() {
        dependencies.extend(sections(platform.as_table().unwrap()));
    }
    Manifest { name, dependencies }
}

fn sections(table: &Table) -> Vec<Dependency> {
    let mut found = Vec::new();
    for (section, for_tests) in
        [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
    {
        for (name, value) in table.get(section).and_then(Value::as_table).into_iter().flatten() {
            let from_workspace = value.get("workspace").and_then(Value::as_bool) == Some(true);
            found.push(Dependency { name: name.clone(), for_tests, from_workspace });
        }
    }
    found
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// Everything that a manifest must not say, in sentences.
fn violations(manifest: &Manifest) -> Vec<String> {
    let each = manifest.dependencies.iter();
    each.filter_map(|dependency| {
        let reason = refused(&manifest.name, dependency)?;
        Some(format!("{} names {}: {reason}", manifest.name, dependency.name))
    })
    .collect()
}

fn refused(crate_name: &str, dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    if !dependency.from_workspace {
        return Some("versions stand in the workspace; write `.workspace = true`".into());
    }
    let owned = |owner| OWNED.contains(&(name, owner));
    if let Some((_, owner)) = OWNED.iter().find(|(owned, _)| *owned == name)
        && !owned(crate_name)
        && !(dependency.for_tests && OWNED_BUT_FOR_TESTS.contains(&(name, crate_name)))
    {
        return Some(format!("only {owner} knows it"));
    }
    if crate_name == "agon-projections"
        && !dependency.for_tests
        && !PROJECTIONS_MAY_NAME.contains(&name)
    {
        return Some("the folds are pure and build on the listed crates alone".into());
    }
    let (own, other) = (layer(crate_name)?, layer(name)?);
    let adapters = layer(ADAPTERS[0])?;
    let adapter_for_tests =
        dependency.for_tests && ADAPTERS.contains(&name) && !ADAPTERS.contains(&crate_name);
    if adapter_for_tests && own >= adapters {
        return None;
    }
    if other >= own {
        return Some("a crate imports only to its left".into());
    }
    // The binary alone stands to the right of the services and joins them with adapters.
    let is_service = own == adapters + 1;
    (is_service && ADAPTERS.contains(&name)).then(|| "a service knows ports, not adapters".into())
}

#[test]
fn every_crate_imports_only_to_its_left() {
    let found: Vec<String> = members().iter().flat_map(violations).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_member_has_its_layer_and_every_layer_its_members() {
    let found: BTreeSet<String> = members().into_iter().map(|member| member.name).collect();
    let placed: BTreeSet<String> = LAYERS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(found, placed);
}

#[test]
fn the_workspace_lists_its_members_in_flow_order() {
    let layers: Vec<_> = members().iter().map(|member| layer(&member.name)).collect();
    assert!(layers.is_sorted(), "{layers:?}");
}

#[test]
fn no_dependency_hides_behind_another_name() {
    for (name, value) in workspace()["dependencies"].as_table().unwrap() {
        assert!(value.get("package").is_none(), "{name} is a renamed crate, so no rule sees it");
    }
}

#[test]
fn every_dependency_of_the_workspace_is_named_by_a_member() {
    let named: BTreeSet<String> = members()
        .into_iter()
        .flat_map(|member| member.dependencies)
        .map(|dependency| dependency.name)
        .collect();
    let all = workspace()["dependencies"].as_table().unwrap().clone();
    let idle: Vec<&String> = all.keys().filter(|name| !named.contains(*name)).collect();
    assert!(idle.is_empty(), "no member names {idle:?}; leave them out of the workspace");
}

#[test]
fn every_member_inherits_the_lints() {
    let folders = workspace()["members"].as_array().unwrap().clone();
    for folder in folders.iter().map(|folder| folder.as_str().unwrap()) {
        let manifest: Table = read(&root().join(folder).join("Cargo.toml")).parse().unwrap();
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        assert_eq!(inherits.and_then(Value::as_bool), Some(true), "{folder}");
    }
}

#[test]
fn the_folds_know_no_clock_no_file_and_no_runtime() {
    let mut folders = vec![root().join("projections/src")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let text = read(&path);
            for word in PROJECTIONS_NEVER_SAY {
                assert!(!text.contains(word), "{} says {word}", path.display());
            }
        }
    }
    assert!(files > 0, "no source of the folds was found");
}

/// What a crate's manifest with these lines is told.
fn check(name: &str, lines: &str, expected: &[&str]) {
    let manifest = parse(&format!("[package]\nname = \"{name}\"\n{lines}"));
    let found = violations(&manifest);
    let seen: BTreeMap<&str, bool> =
        expected.iter().map(|&part| (part, found.iter().any(|line| line.contains(part)))).collect();
    assert!(seen.values().all(|&seen| seen), "{name} {lines}: {found:?}");
    assert_eq!(found.len(), expected.len(), "{name} {lines}: {found:?}");
}

#[test]
fn forged_manifests_are_refused() {
    let cases = [
        ("agon-schema", "[dependencies]\nagon-projections.workspace = true", "to its left"),
        ("agon-ports", "[dev-dependencies]\nagon-memory.workspace = true", "to its left"),
        ("agon-api", "[dependencies]\nagon-embedded.workspace = true", "not adapters"),
        ("agon-api", "[build-dependencies]\nagon-memory.workspace = true", "not adapters"),
        ("agon-api", "[dependencies]\nagon-producer.workspace = true", "to its left"),
        ("agon-api", "[dev-dependencies]\nagon-consumer.workspace = true", "to its left"),
        ("agon-memory", "[dependencies]\nagon-embedded.workspace = true", "to its left"),
        ("agon-memory", "[dev-dependencies]\nagon-embedded.workspace = true", "to its left"),
        ("agon-edge", "[dependencies]\nagon-memory.workspace = true", "to its left"),
        ("agon-consumer", "[dependencies]\nprost.workspace = true", "only agon-schema"),
        ("agon-api", "[dev-dependencies]\nprost.workspace = true", "only agon-schema"),
        ("agon", "[dependencies]\nprost.workspace = true", "only agon-schema"),
        ("agon-edge", "[dependencies]\nopentelemetry.workspace = true", "only agon"),
        ("agon-runner", "[dependencies]\nclap.workspace = true", "only agon"),
        ("agon-simulator", "[dependencies]\nagon.workspace = true", "to its left"),
        ("agon", "[dependencies]\nfjall.workspace = true", "only agon-embedded"),
        ("agon-api", "[dev-dependencies]\nargon2.workspace = true", "only agon-edge"),
        ("agon-projections", "[dependencies]\ntokio.workspace = true", "are pure"),
        ("agon-ports", "[dependencies]\nuuid = \"1\"", "in the workspace"),
        ("agon-ports", "[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"", "in the workspace"),
    ];
    for (name, lines, reason) in cases {
        check(name, lines, &[reason]);
    }
}

#[test]
fn what_the_layers_are_for_is_allowed() {
    for (name, lines) in [
        ("agon-projections", "[dependencies]\nagon-schema.workspace = true"),
        ("agon-projections", "[dev-dependencies]\nproptest.workspace = true"),
        ("agon-embedded", "[dev-dependencies]\nagon-ports = { workspace = true, features = [] }"),
        ("agon-edge", "[dev-dependencies]\nagon-memory.workspace = true"),
        ("agon-consumer", "[dev-dependencies]\nagon-memory.workspace = true"),
        ("agon", "[dependencies]\nagon-embedded.workspace = true\nagon-api.workspace = true"),
    ] {
        check(name, lines, &[]);
    }
}
