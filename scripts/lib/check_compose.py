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
PROFILES = {"kafka", "scylla", "observability", "full"}
# Their images begin as root, or write into their own folders.
WRITABLE = {"redpanda", "scylla"}
# What Kubernetes provisions with, read where it lies.
SHARED = "./k8s/base/"
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|CREDENTIAL", re.I)


def faults(services):
    """What is wrong with the services, in sentences."""
    for name, service in services.items():
        yield from (f"{name}: {fault}" for fault in service_faults(name, service))
        yield from (f"{name}: {fault}" for fault in wait_faults(service, services))
    plain = [name for name, service in services.items() if not service.get("profiles")]
    if plain != ["agon"]:
        yield f"without a profile {plain} start, but it is to be agon alone"
    used = {profile for service in services.values() for profile in service.get("profiles", [])}
    if used != PROFILES:
        yield f"the profiles are {sorted(used)}, not {sorted(PROFILES)}"


def service_faults(name, service):
    ours = service["image"].startswith(IMAGE)
    tag = service["image"].rpartition("/")[2].partition(":")[2]
    if not re.match(r"v?\d+\.\d+\.\d+$", tag):
        yield f"image {service['image']} is not pinned to a version"
    test = service.get("healthcheck", {}).get("test")
    if name != "init" and not test:
        yield "no healthcheck"
    if ours and name != "init" and test != ["CMD", "agon", "healthcheck", "--ready"]:
        yield "its healthcheck is not agon's own"
    if service.get("restart") != ("on-failure:5" if name == "init" else "unless-stopped"):
        yield "it is not started again after it ended"
    for port in service.get("ports", []):
        if not str(port).startswith("127.0.0.1:"):
            yield f"port {port} is published beyond loopback"
    for volume in service.get("volumes", []):
        shared = volume.startswith(SHARED) and volume.endswith(":ro")
        if not shared and not re.match(r"[a-z-]+:/", volume):
            yield f"{volume} is no named volume"
        if shared and not os.path.exists(volume.partition(":")[0]):
            yield f"{volume} is not there"
    if "env_file" in service or ours and "environment" in service:
        yield "settings stand in the command, secrets nowhere"
    if secret := [key for key in service.get("environment", {}) if SECRET.search(key)]:
        yield f"{secret} would be a secret in a file"
    if name not in WRITABLE:
        if not (service.get("read_only") and service.get("cap_drop") == ["ALL"]):
            yield "read_only and cap_drop [ALL] are missing"
        if "no-new-privileges:true" not in service.get("security_opt", []):
            yield "no-new-privileges is missing"


def wait_faults(service, services):
    """Who is waited for is there in the same profiles, and says when it is healthy."""
    for other, wait in service.get("depends_on", {}).items():
        ends = wait["condition"] == "service_completed_successfully" and other == "init"
        if not ends and wait["condition"] != "service_healthy":
            yield f"it does not wait until {other} is healthy"
        if not set(service.get("profiles", [])) <= set(services[other].get("profiles", [])):
            yield f"{other} is not there in every profile of it"


def prometheus_faults(services, scraped):
    """Prometheus finds us under the names that it asks for, on the port that it asks for."""
    names = set()
    for name, service in services.items():
        if service["image"].startswith(IMAGE) and name != "init":
            aliases = service.get("networks", {}).get("default", {}).get("aliases", [])
            names |= set(aliases)
            if not set(aliases) & scraped:
                yield f"{name}: Prometheus does not ask it: no alias of {sorted(scraped)}"
            if "--metrics-listen" not in " ".join(service["command"]):
                yield f"{name}: its metrics are not where Prometheus asks"
    if missing := scraped - names:
        yield f"Prometheus asks for {sorted(missing)}, which nobody is"


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


def controls(services, scraped, agon):
    """Each rule must refuse something, or it says nothing."""
    def broken(change):
        forged = copy.deepcopy(services)
        change(forged)
        return list(faults(forged)) + list(prometheus_faults(forged, scraped))

    assert broken(lambda s: s["api"].update(image="agon:latest")), "an unpinned image passes"
    assert broken(lambda s: s["api"].pop("healthcheck")), "a service without a healthcheck passes"
    assert broken(lambda s: s["api"].update(healthcheck={"disable": True})), "none passes as one"
    assert broken(lambda s: s["api"].update(restart="no")), "what ends for good passes"
    assert broken(lambda s: s["api"].update(ports=["8081:8080"])), "an open port passes"
    assert broken(lambda s: s["api"].update(volumes=["./data:/data"])), "a folder passes"
    assert broken(lambda s: s["grafana"].update(volumes=["./k8s/base/no:/no:ro"])), "none passes"
    assert broken(lambda s: s["grafana"]["environment"].update(A_PASSWORD="b")), "a secret passes"
    assert broken(lambda s: s["grafana"].update(security_opt=[])), "new privileges pass"
    assert broken(lambda s: s["init"]["depends_on"].update(redpanda={"condition":
        "service_started"})), "a server that is not ready passes"
    assert broken(lambda s: s["redpanda"].update(profiles=["kafka"])), "an absent server passes"
    assert broken(lambda s: s["scylla"].update(profiles=["full"])), "a lost profile passes"
    assert broken(lambda s: s["api"].update(environment={"A": "b"})), "an environment passes"
    assert broken(lambda s: s["api"].update(read_only=False)), "a writable image passes"
    assert broken(lambda s: s["api"].pop("profiles")), "a second default service passes"
    assert broken(lambda s: s["api"].pop("networks")), "one whom nobody asks passes"
    assert broken(lambda s: s["api"].update(command=["api"])), "metrics elsewhere pass"
    assert refused(agon, [*services["api"]["command"], "--no-such-option"]), "any option passes"
    assert refused(agon, ["consumer", "--listen=0.0.0.0:8080"]), "a role without servers passes"


def main(path, prometheus, agon):
    yaml = YAML(typ="safe")
    with open(path, encoding="utf-8") as file:
        services = yaml.load(file)["services"]
    with open(prometheus, encoding="utf-8") as file:
        jobs = yaml.load(file)["scrape_configs"]
    found = list(faults(services))
    named = [entry for job in jobs for entry in job["dns_sd_configs"]]
    scraped = {name for entry in named for name in entry["names"]}
    assert {entry["port"] for entry in named} == {9100}, "Prometheus asks on other ports"
    found += prometheus_faults(services, scraped)
    ours = [service for service in services.values() if service["image"].startswith(IMAGE)]
    found += filter(None, (refused(agon, [*service["command"]]) for service in ours))
    if found:
        sys.exit("\n".join(found))
    controls(services, scraped, agon)
    print(f"{len(services)} services, {len(ours)} commands of ours, all as they should be")


main(*sys.argv[1:])
