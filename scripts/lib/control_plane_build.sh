# Builds the control plane from Go modules; read by scripts/control-plane.
# shellcheck shell=bash
# shellcheck disable=SC2154 # the versions and folders are the reader's

build() {
  if [ "$(cat "$bin/versions" 2>/dev/null)" = "$versions" ]; then
    say "there already: $versions"
    return
  fi
  find_go "$home"
  rm -rf "$bin" "$home/src"
  mkdir -p "$bin" "$home/src"
  # The caches are large and needed once.
  set_go "$home/build"
  say "building $versions; log in target/k8s/build.log"
  # A process of its own, which ends at its first error.
  if ! "$project/scripts/control-plane" build-parts >"$home/build.log" 2>&1; then
    tail -n 20 "$home/build.log" >&2
    fail 'the build failed'
  fi
  printf '%s\n' "$versions" >"$bin/versions"
  rm -rf "$home/src" "$home/build"
}

build_parts() {
  build_kubernetes
  build_etcd
  build_kwok
  local crds
  crds=$(module "github.com/kedacore/keda/v2@$keda" Dir)/config/crd/bases
  cp "$crds/keda.sh_scaledobjects.yaml" \
    "$bin/scaledobjects.yaml"
}

# What the module proxy knows of MODULE@VERSION: the file or folder under KEY.
module() { go mod download -json "$1" | sed -n "s/.*\"$2\": \"\(.*\)\".*/\1/p"; }

# A main module of its own, for `go install` refuses modules that replace others: every part of
# Kubernetes that stands beside it in its own repository is its published version here.
build_kubernetes() {
  local part flags='-s -w' parts=() minor=${kubernetes#1.} go_mod
  for part in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
    parts+=("k8s.io/kubernetes/cmd/$part")
  done
  mkdir -p "$home/src/kubernetes"
  cd "$home/src/kubernetes" || exit
  go_mod=$(module "k8s.io/kubernetes@v$kubernetes" GoMod)
  {
    echo 'module kubernetes'
    sed -n '/^go 1/p;/^godebug/p' "$go_mod"
    echo "require k8s.io/kubernetes v$kubernetes"
    awk -v version="v0.$minor" '$1 ~ /^k8s.io\// && $2 == "v0.0.0" {
      print "replace " $1 " => " $1 " " version }' "$go_mod"
  } >go.mod
  # Without these it calls itself by a name that its own clients cannot read.
  for part in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $part.gitVersion=v$kubernetes -X $part.gitMajor=1 -X $part.gitMinor=${minor%%.*}"
    flags+=" -X $part.gitTreeState=clean -X $part.buildDate=2026-01-01T00:00:00Z"
  done
  go build -p 2 -ldflags "$flags" -o "$bin/" "${parts[@]}"
}

build_etcd() {
  mkdir -p "$home/src/etcd"
  cd "$home/src/etcd" || exit
  printf 'module etcd\n\ngo 1.25\n' >go.mod
  go get "go.etcd.io/etcd/server/v3@$etcd"
  go build -p 2 -ldflags '-s -w' -o "$bin/etcd" go.etcd.io/etcd/server/v3
}

# kwok brings no rules of its own; they are files of the same module.
build_kwok() {
  local folder file
  cd "$home/src" || exit
  GOBIN=$bin go install -p 2 -ldflags '-s -w' "sigs.k8s.io/kwok/cmd/kwok@$kwok"
  folder=$(module "sigs.k8s.io/kwok@$kwok" Dir)/kustomize/stage
  for file in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease \
    pod/fast/pod-ready pod/fast/pod-complete pod/fast/pod-delete; do
    echo '---'
    cat "$folder/$file.yaml"
  done >"$bin/kwok.yaml"
}
