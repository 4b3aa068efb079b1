#!/usr/bin/env bats
# setup.sh and teardown.sh for real, on a real control plane without nodes. Each test goes on from
# the one before, as an operator would.

load support

setup_file() {
  cd "$BATS_TEST_DIRNAME/../.." || exit
  local answer
  answer=$(scripts/control-plane start "$BATS_FILE_TMPDIR/plane" "${PORT_BASE:-21000}" 3>&-)
  eval "$answer"
}

teardown_file() {
  cd "$BATS_TEST_DIRNAME/../.." || exit
  scripts/control-plane stop "$BATS_FILE_TMPDIR/plane"
}

setup() { stand_ins "$BATS_FILE_TMPDIR/state"; }

ours=app.kubernetes.io/managed-by=agon-setup
everything=deployments,statefulsets,jobs,pods,services,configmaps,secrets,serviceaccounts
everything+=,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,scaledobjects.keda.sh
everything+=,persistentvolumeclaims

agon() { kubectl --namespace agon "$@"; }

# Every object of ours with what changes when anybody touches its specification.
objects() {
  agon get "$everything" --selector "$ours" --sort-by .metadata.uid \
    -o 'custom-columns=K:.kind,N:.metadata.name,U:.metadata.uid,G:.metadata.generation'
}

claims() { agon get persistentvolumeclaims --sort-by .metadata.uid -o \
  'jsonpath={range .items[*]}{.metadata.uid}{" "}{.status.phase}{"\n"}{end}'; }

# The passwords that setup made.
passwords() {
  agon get secret agon-grafana agon-admin \
    -o 'jsonpath={range .items[*]}{.data.password}{"\n"}{end}'
}

# evict POD: 0 when it was let go.
evict() {
  printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"%s"}}' "$1" |
    kubectl create --raw "/api/v1/namespaces/agon/pods/$1/eviction" -f -
}

pods_of() {
  agon get pods --selector "app.kubernetes.io/component=$1" --field-selector status.phase=Running \
    -o 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}'
}

@test "setup makes a cluster of kind, gives it the image and makes everything ready" {
  run ./setup.sh --deadline 300
  echo "$output"
  [ "$status" = 0 ]
  called 'kind create cluster --name agon'
  called 'docker build --tag agon:0.1.0 .'
  called 'kind load docker-image agon:0.1.0 --name agon'
  has 'curl http://127.0.0.1:30080/readyz'
  has 'http://127.0.0.1:30300'
  has 'http://127.0.0.1:30900'
  has 'get secret agon-admin'
  [ "$(agon get job agon-admin -o 'jsonpath={.status.succeeded}')" = 1 ]
  [ "$(agon get job agon-init -o 'jsonpath={.status.succeeded}')" = 1 ]
  [ "$(agon get deployment agon-api -o 'jsonpath={.status.readyReplicas}')" -ge 1 ]
}

@test "all claims are bound, and nothing was refused" {
  [ "$(claims | grep -c Bound)" = 3 ]
  [ "$(claims | grep -vc Bound)" = 0 ]
  run agon get events --field-selector reason=FailedCreate -o name
  [ "$output" = '' ]
}

@test "the cluster refuses what is against its rules" {
  # The controls of the two tests before: the same cluster, the same namespace.
  run agon run root --image=agon:0.1.0 --privileged
  [ "$status" != 0 ]
  has 'violates PodSecurity "restricted:latest"'
  run agon apply --dry-run=server --validate=strict -f - <<'Y'
{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, dat: {}}
Y
  [ "$status" != 0 ]
  has 'unknown field "dat"'
}

@test "a second run changes nothing" {
  wait_for_two_api_pods
  objects >"$BATS_TEST_TMPDIR/before"
  secret=$(passwords)
  [ "$(sort -u <<<"$secret" | grep -c .)" = 2 ]
  : >"$STATE/calls"
  run ./setup.sh --deadline 300
  echo "$output"
  [ "$status" = 0 ]
  has 'nothing has changed'
  objects | diff "$BATS_TEST_TMPDIR/before" -
  [ "$(passwords)" = "$secret" ]
  run calls_that_change
  [ "$output" = 'kind load docker-image agon:0.1.0 --name agon' ]
}

# The autoscaler's least, which it makes in its own time.
wait_for_two_api_pods() {
  for _ in $(seq 120); do
    [ "$(pods_of api | wc -l)" = 2 ] && agon rollout status deployment/agon-api --timeout=60s &&
      return
    sleep 1
  done
  return 1
}

@test "a disruption budget lets one pod go and holds the other back" {
  for role in api consumer; do
    kubectl cordon --selector kubernetes.io/os=linux
    mapfile -t pods < <(pods_of "$role")
    [ "${#pods[@]}" = 2 ]
    run evict "${pods[0]}"
    [ "$status" = 0 ]
    agon wait --for=delete "pod/${pods[0]}" --timeout=60s
    run evict "${pods[1]}"
    kubectl uncordon --selector kubernetes.io/os=linux
    [ "$status" != 0 ]
    has 'disruption budget'
    agon rollout status "deployment/agon-$role" --timeout=60s
  done
}

@test "what does not become ready is explained, and the next run goes on" {
  kubectl cordon --selector kubernetes.io/os=linux
  run ./setup.sh --cluster current --overlay kind --image elsewhere/agon:0.1.1 --deadline 10
  kubectl uncordon --selector kubernetes.io/os=linux
  [ "$status" = 1 ]
  has 'job/agon-init is not done after 10 s'
  has '== pod agon-init-'
  has 'FailedScheduling'
  run ./setup.sh --cluster current --overlay kind --image elsewhere/agon:0.1.1 --deadline 300
  echo "$output"
  [ "$status" = 0 ]
  run agon get deployments,jobs --selector "$ours" -o 'jsonpath={..image}'
  has 'elsewhere/agon:0.1.1'
  [[ $output != *' agon:0.1.0'* ]]
}

@test "teardown asks first, and removes only what setup made" {
  agon create configmap not-ours
  objects >"$BATS_TEST_TMPDIR/before"
  claims >"$BATS_TEST_TMPDIR/claims"
  run ./teardown.sh </dev/null
  [ "$status" = 1 ]
  has '--yes'
  run ./teardown.sh --dry-run
  [ "$status" = 0 ]
  has 'would remove deployment.apps/agon-api'
  objects | diff "$BATS_TEST_TMPDIR/before" -
  run ./teardown.sh --yes
  echo "$output"
  [ "$status" = 0 ]
  # Nothing is left but the volumes and what others made.
  run agon get "$everything" --ignore-not-found -o name
  left=$(grep -vE '^(persistentvolumeclaim/|configmap/kube-root-ca|serviceaccount/default$)' \
    <<<"$output")
  [ "$left" = configmap/not-ours ]
  claims | diff "$BATS_TEST_TMPDIR/claims" -
  run ./teardown.sh --yes
  [ "$status" = 0 ]
}

@test "setup on minikube finds the volumes again" {
  claims >"$BATS_TEST_TMPDIR/claims"
  run ./setup.sh --cluster minikube --deadline 300
  echo "$output"
  [ "$status" = 0 ]
  called 'minikube start --profile agon --driver docker --cni calico'
  called 'minikube addons enable metrics-server --profile agon'
  called 'minikube image load agon:0.1.0 --profile agon'
  claims | diff "$BATS_TEST_TMPDIR/claims" -
}

@test "teardown with volumes leaves what others put into the namespace" {
  run ./teardown.sh --volumes --yes
  echo "$output"
  [ "$status" = 0 ]
  has 'configmap/not-ours'
  [ "$(claims)" = '' ]
  run agon get configmap not-ours
  [ "$status" = 0 ]
  agon delete configmap not-ours
}

@test "teardown with volumes leaves nothing, and removes the cluster when told to" {
  run ./teardown.sh --volumes --delete-cluster --cluster minikube --yes
  echo "$output"
  [ "$status" = 0 ]
  called 'minikube delete --profile agon'
  run kubectl get namespace agon --ignore-not-found -o name
  [ "$output" = '' ]
  run kubectl get persistentvolumes -o name
  [ "$output" = '' ]
}

@test "a namespace that setup did not make is left alone" {
  kubectl create namespace agon
  run ./setup.sh
  [ "$status" = 1 ]
  has 'did not make'
  run ./teardown.sh --yes --volumes
  [ "$status" = 0 ]
  has 'nothing of ours'
  kubectl delete namespace agon
}

@test "scaled out there are three of each server on nodes of their own, and a scaler" {
  run ./setup.sh --cluster current --image elsewhere/agon:0.1.0 --deadline 300
  echo "$output"
  [ "$status" = 0 ]
  for server in redpanda cassandra; do
    run agon get pods --selector "app.kubernetes.io/name=$server" \
      -o 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}'
    [ "$(sort -u <<<"$output" | wc -l)" = 3 ]
  done
  [ "$(claims | grep -c Bound)" = 7 ]
  [ "$(agon get scaledobject agon-consumer -o 'jsonpath={.spec.maxReplicaCount}')" = 16 ]
  run ./teardown.sh --cluster current --yes --volumes
  [ "$status" = 0 ]
}
