#!/usr/bin/env bats
# setup.sh and teardown.sh as far as they need no cluster.

load support

setup() {
  stand_ins "$BATS_TEST_TMPDIR/state"
  # No cluster is to be found, whoever runs this.
  export KUBECONFIG=$BATS_TEST_TMPDIR/none
}

@test "both explain themselves" {
  run ./setup.sh --help
  [ "$status" = 0 ]
  has '--cluster kind|minikube|current'
  run ./teardown.sh --help
  [ "$status" = 0 ]
  has '--volumes'
}

@test "wrong use ends with 2 and names what was wrong" {
  run ./setup.sh --cluster swarm
  [ "$status" = 2 ]
  has 'swarm'
  run ./setup.sh --overlay none
  [ "$status" = 2 ]
  has 'scale-out'
  run ./setup.sh --deadline soon
  [ "$status" = 2 ]
  run ./setup.sh --image other:1.0.0
  [ "$status" = 2 ]
  run ./setup.sh --no-such-option
  [ "$status" = 2 ]
  run ./teardown.sh --delete-cluster
  [ "$status" = 2 ]
  has '--volumes'
}

@test "a missing tool is named before anything is done" {
  rm "$STATE/bin/minikube"
  PATH=$STATE/bin:$PWD/target/k8s/bin:/usr/bin:/bin run ./setup.sh --cluster minikube
  [ "$status" = 3 ]
  has 'minikube 1.34.0 or newer: not there'
  run calls_that_change
  [ "$output" = '' ]
}

@test "a tool that is too old is named with its version" {
  KIND_VERSION=0.9.9 run ./setup.sh
  [ "$status" = 3 ]
  has 'kind 0.24.0 or newer: this is 0.9.9'
  run calls_that_change
  [ "$output" = '' ]
}

@test "a dry run says everything and does nothing" {
  for cluster in kind minikube; do
    run ./setup.sh --cluster "$cluster" --dry-run
    [ "$status" = 0 ]
    has "would make"
    has 'Secret agon-admin'
    has 'http://127.0.0.1:30080/login'
    has "would run: kubectl apply"
    has 'http://127.0.0.1:30080'
    run ./teardown.sh --cluster "$cluster" --dry-run
    [ "$status" = 0 ]
  done
  run calls_that_change
  [ "$output" = '' ]
}

@test "addresses that nobody wrote are refused" {
  run ./setup.sh --overlay own-servers
  [ "$status" = 1 ]
  has 'own-servers/servers.env'
  run calls_that_change
  [ "$output" = '' ]
}

@test "a cluster that does not answer is named" {
  run ./setup.sh
  [ "$status" = 1 ]
  has 'kubectl --context kind-agon version'
  called 'kind create cluster --name agon --config k8s/overlays/kind/cluster.yaml'
  run ./teardown.sh --yes
  [ "$status" = 1 ]
  has 'kind-agon does not answer'
}
