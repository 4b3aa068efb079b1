#!/usr/bin/env bash
# Puts Agon into a Kubernetes cluster, and makes the cluster when asked to. Run it again at any
# time: what is there already is left as it is.
set -euo pipefail

usage() {
  cat <<'HELP'
Agon in Kubernetes: builds the image, makes a cluster where there is none, applies the manifests of
k8s/, waits until everything is ready, and says where it answers. A second run changes nothing.

  ./setup.sh [OPTIONS]

  --cluster kind|minikube|current   kind (default) and minikube: a local cluster named agon, made
                                    when absent; current: the context that kubectl uses now
  --overlay NAME                    a folder of k8s/overlays: kind, minikube, scale-out (three of
                                    each server, needs KEDA) or own-servers; by default as the
                                    cluster, scale-out for current
  --image IMAGE                     where the cluster finds Agon's image, for --cluster current
  --build                           build the image anew and restart what runs it
  --deadline SECONDS                how long everything may take to be ready (900)
  --dry-run                         say what would be done, do nothing
  -h, --help

Needs kubectl 1.30; for kind: kind 0.24 and docker; for minikube: minikube 1.34 and docker. The
cluster must be Kubernetes 1.30 or newer. Undone by ./teardown.sh.
HELP
}

project=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$project"
# shellcheck source=scripts/lib/k8s.sh
. scripts/lib/k8s.sh
# shellcheck source=scripts/lib/k8s_ready.sh
. scripts/lib/k8s_ready.sh

cluster=kind
overlay=''
image=''
build=''
deadline=900

while [ $# -gt 0 ]; do
  case $1 in
    --cluster | --overlay | --image | --deadline)
      [ $# -ge 2 ] || wrong "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift
      ;;
    --build) build=yes ;;
    --dry-run) dry_run=yes ;;
    -h | --help)
      usage
      exit
      ;;
    *) wrong "$1 is no option" ;;
  esac
  shift
done
case $cluster in
  kind | minikube) overlay=${overlay:-$cluster} ;;
  current) overlay=${overlay:-scale-out} ;;
  *) wrong "--cluster $cluster: use kind, minikube or current" ;;
esac
[[ $deadline =~ ^[1-9][0-9]*$ ]] || wrong "--deadline $deadline: use whole seconds"
[ -f "k8s/overlays/$overlay/kustomization.yaml" ] ||
  wrong "--overlay $overlay: there is $(cd k8s/overlays && echo *)"
[ -z "$image" ] || [ "$cluster" = current ] || wrong '--image goes with --cluster current'
[ -z "$build" ] || [ "$cluster" != current ] || wrong '--build goes with kind and minikube'

check_tools() {
  need kubectl 1.30.0 "$(version_of kubectl version --client)"
  case $cluster in
    kind)
      need kind 0.24.0 "$(version_of kind version)"
      need docker 20.10.0 "$(version_of docker --version)"
      ;;
    minikube)
      need minikube 1.34.0 "$(version_of minikube version --short)"
      need docker 20.10.0 "$(version_of docker --version)"
      ;;
  esac
  enough_tools
}

make_cluster() {
  case $cluster in
    kind)
      context=kind-agon
      if look 'is there a cluster' kind get clusters | grep -qx agon; then
        say 'the cluster kind-agon is there'
      else
        act 'make the cluster kind-agon' kind create cluster --name agon \
          --config k8s/overlays/kind/cluster.yaml --wait 180s
      fi
      ;;
    minikube)
      context=agon
      if look 'is there a cluster' minikube status --profile agon --format '{{.Host}}' |
        grep -qx Running; then
        say 'the cluster agon is there'
      else
        # Its own network enforces no policy.
        act 'make or start the cluster agon' minikube start --profile agon --driver docker \
          --cni calico --ports 127.0.0.1:30080:30080 --ports 127.0.0.1:30300:30300 \
          --ports 127.0.0.1:30900:30900
      fi
      act 'let it measure, for the autoscaler' minikube addons enable metrics-server \
        --profile agon
      ;;
    current)
      context=$(look 'which context' kubectl config current-context) ||
        fail 'kubectl has no current context; choose one with: kubectl config use-context NAME'
      say "the context is ${context:-the current one}"
      ;;
  esac
}

check_cluster() {
  [ -z "$dry_run" ] || return 0
  local version
  version=$(kube get --raw /version | sed -n 's/.*"gitVersion": *"v\([0-9.]*\).*/\1/p') ||
    fail "the cluster does not answer; try: kubectl --context $context version"
  need 'the cluster' 1.30.0 "$version"
  enough_tools
  if grep -q '^kind: ScaledObject$' "$rendered"; then
    kube get crd scaledobjects.keda.sh >/dev/null 2>&1 ||
      fail "the overlay $overlay needs KEDA, which is not in the cluster; install it (keda.sh," \
        'its chart, namespace keda) and run this again'
  fi
}

give_image() {
  [ "$cluster" != current ] || return 0
  local ours=agon:0.1.0
  if [ -n "$build" ] || [ -z "$(look 'is there an image' docker image ls --quiet "$ours")" ]; then
    act "build the image $ours" docker build --tag "$ours" .
  else
    say "the image $ours is there"
  fi
  case $cluster in
    kind) act 'give it to the cluster' kind load docker-image "$ours" --name agon ;;
    minikube) act 'give it to the cluster' minikube image load "$ours" --profile agon ;;
  esac
}

render() {
  rendered=$(mktemp)
  trap 'rm -f "$rendered"' EXIT
  kubectl kustomize "k8s/overlays/$overlay" >"$rendered" ||
    fail "k8s/overlays/$overlay cannot be rendered"
  if grep -qE '//[^ ]*\.example:' "$rendered"; then
    fail "write the addresses of your servers into k8s/overlays/$overlay/servers.env first"
  fi
  [ -z "$image" ] || sed -i "s|image: agon:.*|image: $image|" "$rendered"
  say "k8s/overlays/$overlay: $(grep -c '^kind:' "$rendered") objects"
}

make_namespace() {
  if [ -z "$dry_run" ] && kube get namespace agon >/dev/null 2>&1; then
    local maker
    maker=$(kube get namespace agon -o 'jsonpath={.metadata.labels.app\.kubernetes\.io/managed-by}')
    [ "$maker" = agon-setup ] ||
      fail 'there is a namespace agon that this script did not make; it is left alone'
    return
  fi
  act 'make the namespace agon' kube apply --validate=strict -f k8s/base/namespace.yaml
}

# Passwords are made here, once, and are in no file and no command line.
make_secrets() {
  make_secret agon-grafana "Grafana's password"
  make_secret agon-admin "the first administrator's password"
}

make_secret() {
  if [ -z "$dry_run" ] && kube_agon get secret "$1" >/dev/null 2>&1; then return; fi
  act "make the Secret $1, $2" random_password "$1"
}

random_password() {
  local password
  password=$(head -c 24 /dev/urandom | base64 | tr '+/' 'xy')
  kube_agon apply --validate=strict -f - <<SECRET
apiVersion: v1
kind: Secret
metadata:
  name: $1
  labels: { app.kubernetes.io/part-of: agon, app.kubernetes.io/managed-by: agon-setup }
stringData:
  password: $password
SECRET
}

# What would change: nothing (0), something (1), or something that cannot be changed (2).
changes() { kube diff -f "$rendered" 2>/dev/null; }

apply() {
  if [ -n "$dry_run" ]; then
    say "would run: kubectl apply --validate=strict -f (k8s/overlays/$overlay)"
    return
  fi
  local found status=0
  found=$(changes) || status=$?
  # A Job's template cannot be changed; those that would be are made anew, and find what they made.
  if [ "$status" = 2 ] && [ -n "$(kube_agon get jobs --selector "$ours" -o name)" ]; then
    act 'remove the Jobs: their settings have changed' \
      kube_agon delete jobs --selector "$ours" --cascade=foreground
    found=$(changes) || status=$?
  fi
  if [ "$status" = 0 ]; then
    say 'the manifests are applied; nothing has changed'
  else
    say "apply the manifests: $(grep -c '^diff ' <<<"$found" || true) objects are new or changed"
    kube apply --validate=strict -f "$rendered" >/dev/null || fail 'the cluster refused a manifest'
  fi
  [ -z "$build" ] || act 'restart what runs the image' kube_agon rollout restart deployment \
    --selector "$ours,app.kubernetes.io/name=agon"
}

urls() {
  local host=127.0.0.1
  [ "$cluster" != current ] || host='ADDRESS-OF-A-NODE'
  cat >&2 <<URLS

Agon        http://$host:30080
Grafana     http://$host:30300   user admin; its password:
            kubectl --context $context -n agon get secret agon-grafana \\
              -o go-template='{{.data.password | base64decode}}'
Prometheus  http://$host:30900

Is it ready?
  curl http://$host:30080/readyz
Log in as the administrator, user admin, then write and read as README.md says:
  password=\$(kubectl --context $context -n agon get secret agon-admin \\
    -o jsonpath='{.data.password}' | base64 -d)
  curl http://$host:30080/login -H 'content-type: application/json' \\
    -d '{"username": "admin", "password": "'"\$password"'"}'
URLS
}

check_tools
render
make_cluster
check_cluster
give_image
make_namespace
make_secrets
apply
[ -n "$dry_run" ] || wait_ready
urls
