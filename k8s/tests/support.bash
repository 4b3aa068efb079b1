# What the tests of setup.sh and teardown.sh share.
# shellcheck shell=bash

# stand_ins DIR: kind, minikube and docker that write down their calls, and our own kubectl.
stand_ins() {
  local name
  export STATE=$1
  mkdir -p "$STATE/bin"
  for name in kind minikube docker; do
    ln -sf "$BATS_TEST_DIRNAME/stand-in" "$STATE/bin/$name"
  done
  touch "$STATE/calls" "$STATE/clusters" "$STATE/images" "$STATE/minikube"
  export PATH=$STATE/bin:$BATS_TEST_DIRNAME/../../target/k8s/bin:$PATH
  cd "$BATS_TEST_DIRNAME/../.." || exit
}

# has TEXT: the last output does.
has() {
  [[ $output == *"$1"* ]] || {
    printf 'not in the output: %s\n\n%s\n' "$1" "$output"
    return 1
  }
}

# called TEXT: kind, minikube or docker was.
called() { grep -qF -- "$1" "$STATE/calls"; }

# calls_that_change: the calls that do more than ask.
calls_that_change() {
  grep -vE '^(kind (version|get )|minikube (version|status )|docker (--version|image ls ))' \
    "$STATE/calls"
}
