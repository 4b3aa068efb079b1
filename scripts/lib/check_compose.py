"""Our own rules for docker-compose.yml, and every `agon` command line of it against the binary.

A command is run as it stands where that ends by itself: on addresses that no network here knows,
so a good one ends with 3 (something is not there), a bad one with 2 (wrong use).
"""

import copy
import os
import re
import subprocess
import sys

from ruamel.yaml import YAML

NOT_THERE = 3
IMAGE = "agon:"


def faults(services):
    """What is wrong with a service, in sentences."""
    for name, service in services.items():
        ours = service["image"].startswith(IMAGE)
        tag = service["image"].rpartition("/")[2].partition(":")[2]
        if not re.match(r"v?\d+\.\d+\.\d+$", tag):
            yield f"{name}: image {service['image']} is not pinned to a version"
        if name != "init" and "healthcheck" not in service:
            yield f"{name}: no healthcheck"
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield f"{name}: port {port} is published beyond loopback"
        for volume in service.get("volumes", []):
            if not re.match(r"[a-z-]+:/", str(volume)):
                yield f"{name}: {volume} is no named volume"
        if "environment" in service or "env_file" in service:
            yield f"{name}: settings stand in the command, secrets nowhere"
        if ours and not (service.get("read_only") and service.get("cap_drop") == ["ALL"]):
            yield f"{name}: read_only and cap_drop [ALL] are missing"
    plain = [name for name, service in services.items() if not service.get("profiles")]
    if plain != ["agon"]:
        yield f"without a profile {plain} start, but it is to be agon alone"


def refused(agon, command):
    """Why the binary refuses a command line, or None."""
    if command[0] == "serve":
        command, good = [*command, "--help"], 0
    else:
        command, good = [*command, "--wait", "1ms"], NOT_THERE
    clean = {key: value for key, value in os.environ.items() if not key.startswith("AGON_")}
    ended = subprocess.run([agon, *command], capture_output=True, text=True, timeout=60, env=clean)
    if ended.returncode == good:
        return None
    return f"agon {' '.join(command)}: {ended.returncode}, not {good}: {ended.stderr.strip()}"


def controls(services, agon):
    """Each rule must refuse something, or it says nothing."""
    def broken(change):
        forged = copy.deepcopy(services)
        change(forged)
        return list(faults(forged))

    assert broken(lambda s: s["api"].update(image="agon:latest")), "an unpinned image passes"
    assert broken(lambda s: s["api"].pop("healthcheck")), "a service without a healthcheck passes"
    assert broken(lambda s: s["api"].update(ports=["8081:8080"])), "an open port passes"
    assert broken(lambda s: s["api"].update(environment={"A": "b"})), "an environment passes"
    assert broken(lambda s: s["api"].update(read_only=False)), "a writable image passes"
    assert broken(lambda s: s["api"].pop("profiles")), "a second default service passes"
    assert refused(agon, [*services["api"]["command"], "--no-such-option"]), "any option passes"
    assert refused(agon, ["consumer", "--listen=0.0.0.0:8080"]), "a role without servers passes"


def main(path, agon):
    with open(path, encoding="utf-8") as file:
        services = YAML(typ="safe").load(file)["services"]
    found = list(faults(services))
    ours = [service for service in services.values() if service["image"].startswith(IMAGE)]
    found += filter(None, (refused(agon, [*service["command"]]) for service in ours))
    if found:
        sys.exit("\n".join(found))
    controls(services, agon)
    print(f"{len(services)} services, {len(ours)} commands of ours, all as they should be")


main(*sys.argv[1:])
