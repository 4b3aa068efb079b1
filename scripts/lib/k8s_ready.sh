# Waits until all that setup.sh applied is ready, and explains what is not.
# shellcheck shell=bash
# shellcheck disable=SC2154 # the label and the deadline are the reader's

# The servers, what makes topics, tables and the first user on them, and the rest.
wait_ready() {
  local end=$((SECONDS + deadline)) name
  for name in $(kube_agon get statefulsets --selector "$ours" -o name); do
    rolled_out "$name" "$end"
  done
  job_done agon-init "$end"
  job_done agon-admin "$end"
  for name in $(kube_agon get deployments --selector "$ours" -o name); do
    rolled_out "$name" "$end"
  done
}

rolled_out() {
  local left=$(($2 - SECONDS))
  say "wait for $1"
  [ "$left" -gt 0 ] && kube_agon rollout status "$1" --timeout="${left}s" >/dev/null && return
  explain "$1 is not ready after $deadline s"
}

job_done() {
  say "wait for job/$1"
  local state
  while [ "$SECONDS" -lt "$2" ]; do
    state=$(kube_agon get job "$1" \
      -o 'jsonpath={range .status.conditions[?(@.status=="True")]}{.type} {end}') || true
    case $state in
      *Complete*) return ;;
      *Failed*) explain "job/$1 has failed" ;;
    esac
    sleep 1
  done
  explain "job/$1 is not done after $deadline s"
}

# Events and last lines of every pod that is not ready, and what was refused before a pod was made.
explain() {
  say '' "setup.sh: $1" ''
  local pod
  for pod in $(unready_pods); do
    say "== pod $pod"
    kube_agon get pod "$pod" -o wide >&2 || true
    kube_agon get events --field-selector "involvedObject.name=$pod" --sort-by .lastTimestamp \
      -o 'custom-columns=REASON:.reason,MESSAGE:.message' >&2 || true
    kube_agon logs "$pod" --all-containers --tail 20 >&2 || true
    kube_agon logs "$pod" --all-containers --tail 20 --previous >&2 2>/dev/null || true
  done
  say '== claims and warnings of the namespace'
  kube_agon get persistentvolumeclaims >&2 || true
  kube_agon get events --field-selector type=Warning --sort-by .lastTimestamp >&2 || true
  say '' 'Everything that is there stays; run this again once the cause is gone.'
  exit 1
}

unready_pods() {
  local ready='{range .status.conditions[?(@.type=="Ready")]}{.status}{end}'
  kube_agon get pods \
    -o "jsonpath={range .items[*]}{.metadata.name} {.status.phase} $ready{'\n'}{end}" |
    awk '$2 != "Succeeded" && $3 != "True" { print $1 }'
}
