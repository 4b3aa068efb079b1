"""What no cluster checks for us: our own rules for rendered manifests, every reference in them, and
every command of ours with its environment against the binary.

A command is run as it stands, but for ports and patience: on addresses that no network here knows,
so a good one ends with 3 (something is not there), a bad one with 2 (wrong use).
"""

import copy
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

import k8s_references as references

NOT_THERE = 3
OURS = "agon:"
LABEL = ("app.kubernetes.io/managed-by", "agon-setup")


def pod_faults(workload):
    """What is wrong with one workload's pod, in sentences."""
    kind, name = workload["kind"], workload["metadata"]["name"]
    pod = workload["spec"]["template"]["spec"]
    if pod.get("enableServiceLinks") is not False:
        yield f"{name}: enableServiceLinks is not false"
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{name}: a token is mounted"
    if pod.get("securityContext", {}).get("runAsNonRoot") is not True:
        yield f"{name}: runAsNonRoot is missing"
    for container in pod.get("initContainers", []) + pod["containers"]:
        yield from container_faults(f"{name}/{container['name']}", container, kind == "Job")


def container_faults(name, container, ends_by_itself):
    tag = container["image"].rpartition("/")[2].partition(":")[2]
    if not re.match(r"v?\d+\.\d+\.\d+$", tag):
        yield f"{name}: image {container['image']} is not pinned to a version"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if not ends_by_itself and probe not in container:
            yield f"{name}: no {probe}"
    for bound in ("requests", "limits"):
        if not {"cpu", "memory"} <= container.get("resources", {}).get(bound, {}).keys():
            yield f"{name}: no {bound} of cpu and memory"
    if container["image"].startswith(OURS):
        if container["securityContext"].get("readOnlyRootFilesystem") is not True:
            yield f"{name}: its root file system is writable"


def shutdown_faults(workload, settings):
    """A pod of ours has time for preStop and its own shutdown before it is killed."""
    pod = workload["spec"]["template"]["spec"]
    for container in pod["containers"]:
        if container["image"].startswith(OURS) and workload["kind"] == "Deployment":
            pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
            needed = pause.get("seconds", 0) + int(settings["AGON_SHUTDOWN_MS_MAX"]) / 1000
            rolling = workload["spec"]["strategy"]["rollingUpdate"]
            if not pause or pod["terminationGracePeriodSeconds"] <= needed + 5:
                yield f"{workload['metadata']['name']}: killed before its shutdown ends"
            if rolling["maxUnavailable"] != 0:
                yield f"{workload['metadata']['name']}: an update takes a pod before it gives one"


def faults(documents, project):
    """What is wrong with one overlay, in sentences."""
    for document in documents:
        name = f"{document['kind']}/{document['metadata']['name']}"
        if document["metadata"].get("labels", {}).get(LABEL[0]) != LABEL[1]:
            yield f"{name}: without the label {LABEL[0]}, teardown.sh would leave it"
        if document["kind"] == "Secret":
            yield f"{name}: a secret in a file"
        if document["kind"] in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
            yield f"{name}: nothing of ours needs a right"
        if document["kind"] == "ServiceAccount":
            if document.get("automountServiceAccountToken") is not False:
                yield f"{name}: a token is mounted"
    settings = references.settings(documents)
    for workload in references.workloads(documents):
        yield from pod_faults(workload)
        yield from shutdown_faults(workload, settings)
    yield from references.broken(documents, project)


def refused(agon, command, settings):
    """Why the binary refuses a command line with its environment, or None."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("AGON_")}
    # Any free port: others may be at work on this machine.
    env |= {
        key: re.sub(r":\d+$", ":0", value) if key.endswith("LISTEN") else value
        for key, value in settings.items()
    }
    with tempfile.NamedTemporaryFile("w") as secret:
        secret.write("seven-quiet-otters-92")
        secret.flush()
        # What a file of a Secret says.
        command = [re.sub(r"^(--[a-z-]+-file)=.*", rf"\1={secret.name}", word) for word in command]
        command = [agon, *command, "--wait", "1ms"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    if ended.returncode == NOT_THERE:
        return None
    return f"{' '.join(command)}: {ended.returncode}, not {NOT_THERE}: {ended.stderr.strip()}"


def commands(documents):
    """Every command line of ours with its environment."""
    settings = references.settings(documents)
    for workload in references.workloads(documents):
        for container in workload["spec"]["template"]["spec"]["containers"]:
            if container["image"].startswith(OURS):
                own = {entry["name"]: entry["value"] for entry in container.get("env", [])}
                yield container["args"], settings | own


def controls(documents, project, agon):
    """Each rule must refuse something, or it says nothing."""
    def broken(change):
        forged = copy.deepcopy(documents)
        change({(d["kind"], d["metadata"]["name"]): d for d in forged}, forged)
        return set(faults(forged, project)) - set(faults(documents, project))

    def pod(objects):
        return objects["Deployment", "agon-api"]["spec"]["template"]["spec"]

    def api(objects):
        return pod(objects)["containers"][0]

    changes = {
        "service links": lambda o, _: pod(o).pop("enableServiceLinks"),
        "a token": lambda o, _: pod(o).pop("automountServiceAccountToken"),
        "an unpinned image": lambda o, _: api(o).update(image="agon:latest"),
        "a missing probe": lambda o, _: api(o).pop("readinessProbe"),
        "missing limits": lambda o, _: api(o)["resources"].pop("limits"),
        "a short grace": lambda o, _: pod(o).update(terminationGracePeriodSeconds=10),
        "another account": lambda o, _: pod(o).update(serviceAccountName="none"),
        "a lost map": lambda o, _: api(o)["envFrom"][0]["configMapRef"].update(name="none"),
        "a lost secret": lambda o, _: api(o)["envFrom"][1]["secretRef"].pop("optional"),
        "a lost file": lambda o, _: o["Job", "agon-admin"]["spec"]["template"]["spec"]
            ["containers"][0]["args"].append("--password-file=/secrets/none"),
        "a lost port": lambda o, _: api(o)["ports"].pop(0),
        "a lost service": lambda _, all_: all_.remove(
            next(d for d in all_ if d["metadata"]["name"] == "agon-api-metrics")),
        "an unlabelled object": lambda o, _: o["Service", "agon-api"]["metadata"].pop("labels"),
        "a budget of nothing": lambda o, _: o["PodDisruptionBudget", "agon-api"]["spec"]
            ["selector"]["matchLabels"].update({"app.kubernetes.io/component": "none"}),
        "a policy of nothing": lambda o, _: o["NetworkPolicy", "api-answers"]["spec"]
            ["podSelector"]["matchLabels"].update({"app.kubernetes.io/component": "none"}),
        "a secret": lambda _, all_: all_.append(
            {"kind": "Secret", "metadata": {"name": "s", "labels": dict([LABEL])}}),
    }
    for name, change in changes.items():
        assert broken(change), f"{name} passes"
    command, settings = next(commands(documents))
    assert refused(agon, [*command, "--no-such-option"], settings), "any option passes"
    assert refused(agon, command, settings | {"AGON_API_PORT": "tcp://x"}), "any variable passes"
    return len(changes) + 2


def main(project, agon, *paths):
    found, run, caught = [], 0, 0
    for path in paths:
        documents = [d for d in yaml.safe_load_all(Path(path).read_text("utf-8")) if d]
        wrong = list(faults(documents, Path(project)))
        for command, settings in commands(documents):
            run += 1
            wrong += filter(None, [refused(agon, command, settings)])
        found += [f"{Path(path).stem}: {line}" for line in wrong]
        if path == paths[0] and not wrong:
            caught = controls(documents, Path(project), agon)
    if found:
        sys.exit("\n".join(found))
    print(f"{len(paths)} overlays, {run} commands of ours: as they should be; "
          f"{caught} forgeries caught")


main(*sys.argv[1:])
