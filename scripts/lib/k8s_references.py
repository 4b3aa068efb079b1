"""Whether everything that rendered manifests refer to is there: maps and secrets with their keys,
accounts, ports, and what selectors select. Each fault is a sentence."""

import json
import re

import yaml

# What setup.sh makes, with its keys.
SECRETS = {"agon-grafana": {"password"}, "agon-admin": {"password"}}
TOPICS_FILE = "schema/src/topic.rs"
GROUP_FILE = "adapters/kafka/src/group/mod.rs"


def workloads(documents):
    return [d for d in documents if d["kind"] in ("Deployment", "StatefulSet", "Job")]


def named(documents, kind):
    return {d["metadata"]["name"]: d for d in documents if d["kind"] == kind}


def settings(documents):
    """The variables of our own configuration."""
    maps = named(documents, "ConfigMap")
    return next(m["data"] for name, m in maps.items() if name.startswith("agon-config-"))


def selected(documents, selector):
    """Workloads whose pods a selector selects."""
    wanted = selector.get("matchLabels", selector).items()
    return [w for w in workloads(documents)
            if wanted <= w["spec"]["template"]["metadata"]["labels"].items()]


def ports(workload):
    """Ports of a workload's pods, by number and by name."""
    found = {}
    for container in workload["spec"]["template"]["spec"]["containers"]:
        for port in container.get("ports", []):
            found[port["containerPort"]] = found[port["name"]] = port["containerPort"]
    return found


def broken(documents, project):
    for workload in workloads(documents):
        yield from in_pod(documents, workload)
    yield from in_selectors(documents)
    yield from in_policies(documents)
    yield from in_scalers(documents, project)
    yield from in_addresses(documents)
    yield from in_dashboards(documents, project)


def in_pod(documents, workload):
    name, pod = workload["metadata"]["name"], workload["spec"]["template"]["spec"]
    if pod.get("serviceAccountName") not in named(documents, "ServiceAccount"):
        yield f"{name}: no ServiceAccount {pod.get('serviceAccountName')}"
    if workload["kind"] == "StatefulSet":
        if workload["spec"]["serviceName"] not in named(documents, "Service"):
            yield f"{name}: no Service {workload['spec']['serviceName']}"
    volumes = {t["metadata"]["name"]: None for t in
               workload["spec"].get("volumeClaimTemplates", [])}
    for volume in pod.get("volumes", []):
        keys, fault = source(documents, volume)
        volumes[volume["name"]] = keys
        yield from (f"{name}: {text}" for text in fault)
    for container in pod["containers"]:
        for origin in container.get("envFrom", []):
            yield from (f"{name}: {text}" for text in source(documents, origin)[1])
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"{name}: no volume {mount['name']}"
            elif "subPath" in mount and mount["subPath"] not in (volumes[mount["name"]] or ()):
                yield f"{name}: no key {mount['subPath']} in volume {mount['name']}"
        files = {f"{mount['mountPath']}/{key}" for mount in container.get("volumeMounts", [])
                 for key in volumes.get(mount["name"]) or ()}
        for argument in container.get("args", []):
            option, _, path = argument.partition("=")
            if option.endswith("-file") and path not in files:
                yield f"{name}: {argument} is in no volume"
        for part in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(part, {})
            port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
            if port is not None and port not in ports(workload):
                yield f"{name}: {part} asks port {port}, which is not there"


def source(documents, origin):
    """Keys and faults of a map or secret that a volume or a variable comes from."""
    for kind, field in (("ConfigMap", "configMap"), ("ConfigMap", "configMapRef")):
        if field in origin:
            found = named(documents, kind).get(origin[field]["name"])
            return (found or {}).get("data", {}), [] if found else [f"no ConfigMap {origin[field]}"]
    for field in ("secret", "secretRef"):
        if field in origin:
            secret = origin[field].get("secretName") or origin[field].get("name")
            is_there = secret in SECRETS or origin[field].get("optional")
            return SECRETS.get(secret, ()), [] if is_there else [f"no Secret {secret}"]
    return (), []


def in_selectors(documents):
    for name, service in named(documents, "Service").items():
        found = selected(documents, service["spec"]["selector"])
        if not found:
            yield f"Service/{name} selects nothing"
        for port in service["spec"]["ports"]:
            for workload in found:
                if port["targetPort"] not in ports(workload):
                    yield f"Service/{name}: port {port['targetPort']} is not there"
    for name, budget in named(documents, "PodDisruptionBudget").items():
        if len(selected(documents, budget["spec"]["selector"])) != 1:
            yield f"PodDisruptionBudget/{name} is not of one workload"


def in_policies(documents):
    for name, policy in named(documents, "NetworkPolicy").items():
        spec = policy["spec"]
        targets = selected(documents, spec["podSelector"])
        if not targets:
            yield f"NetworkPolicy/{name} selects nothing"
        for rule in spec.get("ingress", []):
            for port in rule.get("ports", []):
                if not any(port["port"] in ports(workload) for workload in targets):
                    yield f"NetworkPolicy/{name}: port {port['port']} is not there"
        peers = [p for r in spec.get("ingress", []) for p in r.get("from", [])]
        peers += [p for r in spec.get("egress", []) for p in r.get("to", [])]
        for peer in peers:
            if "namespaceSelector" not in peer and not selected(documents, peer["podSelector"]):
                yield f"NetworkPolicy/{name}: a peer that is not there"


def in_scalers(documents, project):
    scalers = [d for d in documents if d["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")]
    for scaler in scalers:
        name, target = scaler["metadata"]["name"], scaler["spec"]["scaleTargetRef"]["name"]
        found = named(documents, "Deployment").get(target)
        if not found:
            yield f"{scaler['kind']}/{name}: no Deployment {target}"
        elif "replicas" in found["spec"]:
            yield f"{target}: replicas beside a scaler would be set back by every setup"
        if scaler["kind"] == "ScaledObject":
            yield from in_triggers(documents, scaler, project)


def in_triggers(documents, scaler, project):
    name = scaler["metadata"]["name"]
    topics = (project / TOPICS_FILE).read_text("utf-8")
    groups = (project / GROUP_FILE).read_text("utf-8")
    if str(scaler["spec"]["maxReplicaCount"]) != settings(documents).get("AGON_PARTITIONS"):
        yield f"{name}: maxReplicaCount is not AGON_PARTITIONS"
    for trigger in scaler["spec"]["triggers"]:
        asked = trigger["metadata"]
        if f'"{asked["topic"]}"' not in topics:
            yield f"{name}: no topic {asked['topic']}"
        if f'"{asked["consumerGroup"]}"' not in groups:
            yield f"{name}: no group {asked['consumerGroup']}"
        yield from address(documents, asked["bootstrapServers"])


def in_addresses(documents):
    """Addresses of services in our settings and in those of what watches us."""
    of = settings(documents)
    for text in re.findall(r"[^/,]+:\d+", of["AGON_LOG"] + "," + of["AGON_STORE"]):
        if not text.split(":")[0].endswith(".example"):
            yield from address(documents, text)
    maps = {name: m["data"] for name, m in named(documents, "ConfigMap").items()}
    scraped = next(d for n, d in maps.items() if n.startswith("agon-prometheus-"))
    for job in yaml.safe_load(scraped["prometheus.yml"])["scrape_configs"]:
        for found in job["dns_sd_configs"]:
            for host in found["names"]:
                yield from address(documents, f"{host}:{found['port']}")
    shown = next(d for n, d in maps.items() if n.startswith("agon-grafana-provisioning-"))
    for origin in yaml.safe_load(shown["datasources.yml"])["datasources"]:
        yield from address(documents, origin["url"].removeprefix("http://"))


def address(documents, text):
    """HOST:PORT is a service of ours, a pod of one, and the port is there."""
    host, _, port = text.rpartition(":")
    host = host.removesuffix(".agon.svc")
    pod, _, service = host.rpartition(".")
    found = named(documents, "Service").get(service)
    if not found or int(port) not in {p["port"] for p in found["spec"]["ports"]}:
        yield f"{text}: no such service or port"
    elif pod:
        name, _, number = pod.rpartition("-")
        kept = named(documents, "StatefulSet").get(name)
        if not kept or int(number) >= kept["spec"]["replicas"]:
            yield f"{text}: no such pod"


def in_dashboards(documents, project):
    """Every metric that a panel asks for is named in the sources."""
    sources = "".join(p.read_text("utf-8") for p in project.glob("*/**/src/**/*.rs")
                      if "target" not in p.parts)
    for name, data in named(documents, "ConfigMap").items():
        if not name.startswith("agon-grafana-dashboards-"):
            continue
        for file, text in data["data"].items():
            for panel in json.loads(text)["panels"]:
                for target in panel["targets"]:
                    for metric in re.findall(r"\bagon_[a-z_]+", target["expr"]):
                        plain = re.sub(r"_(bucket|sum|count)$", "", metric)
                        if f'"{plain}"' not in sources:
                            yield f"{file}: no metric {plain}"
