#!/usr/bin/env bash
# Takes Agon out of a Kubernetes cluster: what setup.sh made, and nothing else.
set -euo pipefail

usage() {
  cat <<'HELP'
Removes what ./setup.sh made: every object with its label in the namespace agon. The volumes stay,
and the namespace that holds their claims; ./setup.sh finds them again.

  ./teardown.sh [OPTIONS]

  --cluster kind|minikube|current   as for setup.sh; kind is the default
  --volumes                         the volumes and the namespace too: all events are lost
  --delete-cluster                  the cluster agon of kind or minikube too; with --volumes only
  --yes                             do not ask
  --dry-run                         say what would be removed, do nothing
  -h, --help
HELP
}

project=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib/k8s.sh
. "$project/scripts/lib/k8s.sh"

cluster=kind
volumes=''
delete_cluster=''
yes=''
kinds=(deployments.apps statefulsets.apps jobs.batch horizontalpodautoscalers.autoscaling
  poddisruptionbudgets.policy services networkpolicies.networking.k8s.io configmaps secrets
  serviceaccounts)

while [ $# -gt 0 ]; do
  case $1 in
    --cluster)
      [ $# -ge 2 ] || wrong "$1 needs a value"
      cluster=$2
      shift
      ;;
    --volumes) volumes=yes ;;
    --delete-cluster) delete_cluster=yes ;;
    --yes) yes=yes ;;
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
  kind) context=kind-agon ;;
  minikube) context=agon ;;
  current)
    [ -z "$delete_cluster" ] || wrong '--delete-cluster is for kind and minikube'
    context=$(kubectl config current-context 2>/dev/null) ||
      fail 'kubectl has no current context; choose one with: kubectl config use-context NAME'
    ;;
  *) wrong "--cluster $cluster: use kind, minikube or current" ;;
esac
[ -z "$delete_cluster" ] || [ -n "$volumes" ] ||
  wrong '--delete-cluster loses the volumes; say --volumes as well'

# Objects of ours, one a line; with the claims of the servers where they go too.
found() {
  local of=("${kinds[@]}")
  if kube get crd scaledobjects.keda.sh >/dev/null 2>&1; then
    of=(scaledobjects.keda.sh "${of[@]}")
  fi
  [ -z "$volumes" ] || of+=(persistentvolumeclaims)
  kube_agon get "$(IFS=,; echo "${of[*]}")" --selector "$ours" -o name
}

ask() {
  [ -z "$yes" ] || return 0
  [ -t 0 ] || fail 'nobody to ask; say --yes'
  local answer
  read -r -p "$1 [y/N] " answer
  case $answer in
    y | Y | yes) ;;
    *) fail 'nothing was removed' ;;
  esac
}

remove_objects() {
  local list objects count question
  # A namespace without our label was not made by setup.sh, and what is in it neither.
  if ! kube get namespaces --selector "$ours" -o name | grep -qx namespace/agon; then
    say "nothing of ours is in $context"
    return
  fi
  list=$(found) || fail "cannot ask $context what is there"
  mapfile -t objects < <(printf %s "$list")
  count=${#objects[@]}
  say "in $context, namespace agon: $count objects of ours"
  if [ -n "$dry_run" ]; then
    printf 'would remove %s\n' "${objects[@]}" >&2
    [ -z "$volumes" ] || say 'would remove namespace/agon'
    return
  fi
  question="Remove $count objects, and keep the volumes?"
  [ -z "$volumes" ] || question="Remove $count objects, all volumes and events among them?"
  ask "$question"
  # What scales goes before what it scales; pods end in order, and are waited for.
  [ "$count" = 0 ] || kube_agon delete "${objects[@]}" --cascade=foreground --ignore-not-found \
    --timeout=600s >/dev/null || fail 'not everything could be removed; run this again'
  if [ -n "$volumes" ]; then
    remove_namespace
  else
    say 'kept:'
    kube_agon get persistentvolumeclaims --selector "$ours" -o name >&2
  fi
}

# Unless others have put something into it.
remove_namespace() {
  local others
  others=$(kube_agon get "$(IFS=,; echo "${kinds[*]},pods,persistentvolumeclaims")" \
    --selector "${ours/=/!=}" -o name |
    grep -vxE 'configmap/kube-root-ca.crt|serviceaccount/default' || true)
  if [ -n "$others" ]; then
    say 'kept the namespace agon, for others have put into it:' "$others"
    return
  fi
  act 'remove the namespace agon' kube delete namespace agon --timeout=300s
}

remove_cluster() {
  case $cluster in
    kind) act 'remove the cluster kind-agon' kind delete cluster --name agon ;;
    minikube) act 'remove the cluster agon' minikube delete --profile agon ;;
  esac
}

if ! kube get --raw /version >/dev/null 2>&1; then
  [ -n "$dry_run" ] || fail "the cluster of context $context does not answer"
  say "would remove the objects with label $ours; the cluster of $context does not answer"
else
  remove_objects
fi
[ -z "$delete_cluster" ] || remove_cluster
