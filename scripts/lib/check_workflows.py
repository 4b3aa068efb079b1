"""Our own rules for the workflows of GitHub, each with a forgery that it must find.

    check_workflows.py FILE...
"""
import copy
import os
import re
import sys

import yaml

PINNED = re.compile(r"^\s*(?:- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v[\d.]+$")
# What a run step of ours calls.
SCRIPT = re.compile(r"(?:^|[\s;&|(])(\./[\w.-]+|\.ci/run|scripts/[\w-]+)")


def steps_of(workflow):
    """Each step with its job and the job's name."""
    for name, job in workflow.get("jobs", {}).items():
        for step in job.get("steps", []):
            yield name, job, step


def of_workflow(workflow):
    """What is wrong with the head of a workflow."""
    # YAML 1.1 reads the key `on` as true.
    on = workflow.get("on", workflow.get(True))
    if workflow.get("permissions") != {"contents": "read"}:
        yield "permissions are not `contents: read` alone"
    if "concurrency" not in workflow:
        yield "no concurrency"
    if "pull_request_target" in (on or {}) or "workflow_run" in (on or {}):
        yield "starts with rights that the change's author lacks"


def of_jobs(workflow):
    """What is wrong with its jobs."""
    for name, job in workflow.get("jobs", {}).items():
        if "permissions" in job:
            yield f"{name}: permissions of its own"
        if "timeout-minutes" not in job:
            yield f"{name}: no timeout-minutes"
        if not re.fullmatch(r"ubuntu-\d\d\.\d\d", str(job.get("runs-on"))):
            yield f"{name}: runs-on is no fixed release"


def of_steps(workflow):
    """What is wrong with its steps."""
    for name, _, step in steps_of(workflow):
        run = step.get("run", "")
        if "${{" in run:
            yield f"{name}: an expression in run; hand it over in env"
        if step.get("uses", "").startswith("actions/checkout@"):
            if step.get("with", {}).get("persist-credentials") is not False:
                yield f"{name}: checkout keeps its credentials"
        for script in SCRIPT.findall(run):
            if not os.access(script, os.X_OK):
                yield f"{name}: {script} is not there"


def of_ci_steps(workflow):
    """Steps of .ci/run that are none."""
    with open(".ci/run", encoding="utf-8") as file:
        known = set(re.findall(r"^step '([^']+)' ", file.read(), re.MULTILINE))
    for name, job in workflow.get("jobs", {}).items():
        for entry in job.get("strategy", {}).get("matrix", {}).get("include", []):
            for step in entry.get("steps", "").splitlines():
                if step not in known:
                    yield f"{name}: .ci/run has no step {step!r}"


def of_text(text):
    """Actions that are not pinned by a commit with its version beside it."""
    for line in text.splitlines():
        if re.match(r"^\s*(- )?uses:", line) and not PINNED.match(line):
            yield f"not pinned by a commit: {line.strip()}"


def wrong(workflow, text):
    """Everything that is wrong with a workflow."""
    return [
        what
        for rule in (of_workflow, of_jobs, of_steps, of_ci_steps)
        for what in rule(workflow)
    ] + list(of_text(text))


def first_job(workflow):
    return next(iter(workflow["jobs"].values()))


def forge_checkout(workflow):
    first_job(workflow)["steps"][0]["with"]["persist-credentials"] = True


def forge_run(workflow):
    first_job(workflow)["steps"][-1]["run"] = "echo ${{ github.head_ref }}"


def forge_script(workflow):
    first_job(workflow)["steps"][-1]["run"] = "scripts/nothing --here"


def forge_ci_step(workflow):
    first_job(workflow)["strategy"] = {"matrix": {"include": [{"steps": "nothing"}]}}


FORGERIES = [
    ("permissions are not", lambda w: w.update(permissions="write-all")),
    ("permissions are not", lambda w: w.pop("permissions")),
    ("no concurrency", lambda w: w.pop("concurrency")),
    ("with rights", lambda w: w.update(on={"pull_request_target": None})),
    ("of its own", lambda w: first_job(w).update(permissions={"contents": "write"})),
    ("no timeout-minutes", lambda w: first_job(w).pop("timeout-minutes")),
    ("no fixed release", lambda w: first_job(w).update({"runs-on": "ubuntu-latest"})),
    ("keeps its credentials", forge_checkout),
    ("an expression in run", forge_run),
    ("scripts/nothing is not there", forge_script),
    ("has no step 'nothing'", forge_ci_step),
]
UNPINNED = ["uses: actions/checkout@v5", "- uses: a/b@main", "uses: docker://alpine",
            "uses: a/b@" + "0" * 39 + " # v1", "uses: a/b@" + "0" * 40]


def check_rules(workflow):
    """Fails unless each forgery is found."""
    for words, forge in FORGERIES:
        forged = copy.deepcopy(workflow)
        forge(forged)
        if not any(words in what for what in wrong(forged, "")):
            sys.exit(f"check_workflows: a forgery is not found: {words}")
    for line in UNPINNED:
        if not list(of_text(line)):
            sys.exit(f"check_workflows: passes as pinned: {line}")


def main():
    failed = False
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        workflow = yaml.safe_load(text)
        check_rules(workflow)
        for what in wrong(workflow, text):
            failed = True
            print(f"{path}: {what}", file=sys.stderr)
    if failed or len(sys.argv) < 2:
        sys.exit(1)
    rules = len(FORGERIES) + len(UNPINNED)
    print(f"{len(sys.argv) - 1} workflows keep the rules; {rules} forgeries were found")


main()
