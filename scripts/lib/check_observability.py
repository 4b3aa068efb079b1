"""Whether an operator sees: every query of every panel has data in a real run, every alert can be
evaluated on metrics that are there, and no label holds what a caller made up."""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from observed_run import MADE_UP, Agon, Prometheus, ask, until

ALERTS = {
    "AgonLagGrows", "AgonDeadLetters", "AgonFlushFails", "AgonIntakeRefuses", "AgonNotReady",
    "AgonDiskNearlyFull", "AgonSourceSilent", "AgonTargetDown",
}
GUIDE = Path("docs/operations.md")
# Long enough for four scrapes, as Grafana would choose it.
RATE_INTERVAL = "5s"
PATIENCE_S = 180
VALUES_OF_A_LABEL_MAX = 100


def shape_faults(name, board):
    """What is wrong with a dashboard as it stands, in sentences."""
    ids = [panel["id"] for panel in board["panels"]]
    if len(set(ids)) != len(ids):
        yield f"{name}: two panels have one id"
    if board.get("uid") != Path(name).stem:
        yield f"{name}: its uid is not its name"
    known = {variable["name"] for variable in board["templating"]["list"]}
    for panel in board["panels"]:
        title = f"{name}: {panel.get('title')}"
        if panel["datasource"]["uid"] != "${datasource}":
            yield f"{title}: a data source by name"
        if not panel.get("description") or not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"{title}: no description or no unit"
        if not panel["targets"]:
            yield f"{title}: no query"
        for target in panel["targets"]:
            for used in re.findall(r"\$\{?(\w+)", target["expr"]):
                if used not in known | {"__rate_interval"}:
                    yield f"{title}: no variable {used}"


def queries(name, board):
    """Every query of a dashboard under its name, with its variables filled in."""
    for panel in board["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", RATE_INTERVAL)
            yield f"{name}: {panel['title']} {target['refId']}", query.replace("$instance", ".+")
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
            metric, label = found.groups()
            yield f"{name}: variable {variable['name']}", f'count({metric}{{{label}!=""}}) > 0'


def without_data(prometheus, asked):
    return {name: query for name, query in asked.items() if not prometheus.samples(query)}


def rule_faults(prometheus):
    """What is wrong with an alert as Prometheus evaluates it, in sentences."""
    groups = prometheus.get("rules")["groups"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    if rules.keys() != ALERTS:
        yield f"alerts are {sorted(rules)}, not {sorted(ALERTS)}"
    anchors = None
    if GUIDE.exists():
        heads = re.findall(r"^#+ +(.+)$", GUIDE.read_text("utf-8"), re.M)
        anchors = {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}
    for name, rule in rules.items():
        if rule["health"] != "ok" or rule.get("lastError"):
            yield f"{name}: {rule['health']}: {rule.get('lastError')}"
        if rule["labels"].get("severity") not in ("warning", "critical"):
            yield f"{name}: no severity"
        for part in ("summary", "description", "runbook_url"):
            if not rule["annotations"].get(part):
                yield f"{name}: no {part}"
        page, _, anchor = rule["annotations"].get("runbook_url", "").partition("#")
        if page != str(GUIDE) or anchor != name.lower():
            yield f"{name}: its runbook is not {GUIDE}#{name.lower()}"
        elif anchors is not None and anchor not in anchors:
            yield f"{name}: {GUIDE} has no heading {name}"
        for selector in re.findall(r"\b(?:up\b|agon_\w+)(?:\{[^}]*\})?", rule["query"]):
            if not prometheus.samples(f"count({selector})"):
                yield f"{name}: nothing is {selector}"


def label_faults(text):
    """Labels that hold what callers made up, or too many values, in sentences."""
    values = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', line):
            values.setdefault((line.split("{")[0], label), set()).add(value)
    for (metric, label), found in values.items():
        if any(MADE_UP in value for value in found):
            yield f"{metric}: the label {label} holds what a caller made up"
        if len(found) > VALUES_OF_A_LABEL_MAX:
            yield f"{metric}: the label {label} has {len(found)} values"


def lint(text):
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                          capture_output=True, timeout=60)
    if done.returncode != 0:
        yield f"promtool check metrics: {done.stderr.strip()}"


def controls(prometheus, board):
    """What must be noticed."""
    none = without_data(prometheus, {"none": "agon_no_such_metric", "up": "up",
                                     "no number": "0 * up / (0 * up)"})
    assert none.keys() == {"none", "no number"}, none
    forged = json.loads(json.dumps(board))
    forged["panels"][0]["targets"][0]["expr"] = "up{job=~\"$other\"}"
    assert list(shape_faults("agon.json", forged)), "any variable passes"
    assert list(label_faults(f'agon_x{{user="{MADE_UP}-7"}} 1')), "any label passes"


def look(agon, prometheus, boards):
    """Waits for data and answers the faults."""
    asked = dict(query for name, board in boards.items() for query in queries(name, board))
    began = time.monotonic()

    def all_there():
        missing = without_data(prometheus, asked)
        return not missing, "\n".join(f"{name}: {query}" for name, query in missing.items())

    until("queries without data", PATIENCE_S, all_there)
    print(f"{len(asked)} queries of {len(boards)} dashboards have data, "
          f"after {time.monotonic() - began:.0f} s")
    until("AgonDeadLetters fires", PATIENCE_S, lambda: (
        prometheus.samples('ALERTS{alertname="AgonDeadLetters",alertstate="firing"}'),
        "dead letters were made"))
    status, text = ask(f"{agon.base}/metrics")
    assert status == 200, text
    faults = [*rule_faults(prometheus), *label_faults(text), *lint(text)]
    faults += [fault for name, board in boards.items() for fault in shape_faults(name, board)]
    controls(prometheus, next(iter(boards.values())))
    # The first second of a process is nobody's everyday.
    for what, query in {
        "scrape time in milliseconds, half of them": "quantile_over_time(0.5, {}[1m]) * 1000",
        "the longest": "max_over_time({}[1m]) * 1000",
    }.items():
        value = prometheus.samples(query.format("scrape_duration_seconds"))[0][1]
        print(f"{what}: {value:.1f}")
    series = prometheus.samples("scrape_samples_scraped")[0][1]
    print(f"series of one process: {series:.0f}, in {len(text)} bytes")
    return faults


def main(binary, rules, *paths):
    boards = {Path(path).name: json.loads(Path(path).read_text("utf-8")) for path in paths}
    with tempfile.TemporaryDirectory(prefix="agon-observability-") as folder:
        agon = Agon(binary, folder)
        try:
            prometheus = Prometheus(folder, agon.base.removeprefix("http://"), rules)
            try:
                faults = look(agon, prometheus, boards)
            finally:
                prometheus.kill()
            code = agon.stop()
            if code != 0:
                faults.append(f"agon ended with {code}: {agon.said.read_text('utf-8')[-500:]}")
        finally:
            agon.kill()
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(ALERTS)} alerts as they should be")


main(*sys.argv[1:])
