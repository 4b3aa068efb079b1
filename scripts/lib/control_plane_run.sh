# Starts and stops the control plane; read by scripts/control-plane.
# shellcheck shell=bash
# shellcheck disable=SC2154 # the folders are the reader's

# start DIR PORT: from nothing to a ready node in about 4 s.
start() {
  local port=$2
  [ -x "$bin/kwok" ] || fail 'build it first: scripts/control-plane build'
  [ ! -e "$1" ] || fail "$1 is there already; take a new folder, or stop it first"
  mkdir -p "$1/pki" "$1/log"
  run=$(cd "$1" && pwd)
  cd "$run" || exit
  make_certificates >log/pki.log 2>&1
  make_kubeconfigs "$port"
  start_processes "$port"
  wait_until "$port" kubectl_here -n default get serviceaccount default
  kubectl_here apply -f - >/dev/null <"$project/scripts/lib/control_plane_node.yaml"
  kubectl_here apply --server-side -f "$bin/scaledobjects.yaml" >/dev/null
  kubectl_here wait --for=condition=Ready --timeout=60s nodes --all >/dev/null
  kubectl_here wait --for=condition=Established --timeout=60s \
    crd/scaledobjects.keda.sh >/dev/null
  say "ready on port $((port + 2))"
  printf 'export KUBECONFIG=%q\n' "$run/admin.kubeconfig"
}

kubectl_here() { "$bin/kubectl" --kubeconfig "$run/admin.kubeconfig" "$@"; }

make_certificates() (
  cd pki || exit
  key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
  certificate() { # NAME SUBJECT EXTENSIONS
    key "$1"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
      -extfile <(printf '%b' "$3") -out "$1.crt"
  }
  key ca
  openssl req -x509 -new -key ca.key -subj /CN=test-ca -days 30 -out ca.crt
  openssl genrsa -out sa.key 2048
  openssl rsa -in sa.key -pubout -out sa.pub
  local client='extendedKeyUsage=clientAuth\n'
  certificate apiserver /CN=kube-apiserver \
    'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:10.96.0.1\nextendedKeyUsage=serverAuth\n'
  certificate admin /O=system:masters/CN=admin "$client"
  certificate manager /CN=system:kube-controller-manager "$client"
  certificate scheduler /CN=system:kube-scheduler "$client"
)

# The context of the administrator is called as kind would call it, so that a script that makes
# clusters finds this one.
make_kubeconfigs() {
  local user
  for user in admin manager scheduler; do
    cat >"$user.kubeconfig" <<K
apiVersion: v1
kind: Config
clusters:
  - name: test
    cluster: {server: "https://127.0.0.1:$(($1 + 2))", certificate-authority: pki/ca.crt}
users:
  - name: $user
    user: {client-certificate: pki/$user.crt, client-key: pki/$user.key}
contexts:
  - {name: kind-agon, context: {cluster: test, user: $user}}
  - {name: agon, context: {cluster: test, user: $user}}
current-context: kind-agon
K
  done
}

process() {
  local name=$1
  shift
  "$@" >"log/$name.log" 2>&1 </dev/null &
  echo "$name $!" >>pids
}

start_processes() {
  local port=$1 tls='--bind-address=127.0.0.1'
  local peer=http://127.0.0.1:$((port + 1))
  # What is lost in a power cut was for a test.
  process etcd "$bin/etcd" --name t --data-dir etcd --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$port" \
    --advertise-client-urls "http://127.0.0.1:$port" --listen-peer-urls "$peer" \
    --initial-advertise-peer-urls "$peer" --initial-cluster "t=$peer"
  process apiserver "$bin/kube-apiserver" --etcd-servers="http://127.0.0.1:$port" "$tls" \
    --secure-port=$((port + 2)) --advertise-address=127.0.0.1 --endpoint-reconciler-type=none \
    --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key \
    --client-ca-file=pki/ca.crt --service-account-key-file=pki/sa.pub \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-signing-key-file=pki/sa.key --service-cluster-ip-range=10.96.0.0/16 \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --allow-privileged=true
  wait_until "$port" kubectl_here get --raw /readyz
  # Provisioned volumes are empty folders; stop removes them.
  process manager env TMPDIR="$run" "$bin/kube-controller-manager" "$tls" \
    --kubeconfig=manager.kubeconfig --secure-port=$((port + 3)) \
    --service-account-private-key-file=pki/sa.key --root-ca-file=pki/ca.crt \
    --use-service-account-credentials=true --leader-elect=false \
    --enable-hostpath-provisioner=true --flex-volume-plugin-dir="$run/flex" \
    --kube-api-qps=500 --kube-api-burst=1000
  process scheduler "$bin/kube-scheduler" --kubeconfig=scheduler.kubeconfig "$tls" \
    --secure-port=$((port + 4)) --leader-elect=false
  process kwok "$bin/kwok" --config="$bin/kwok.yaml" --kubeconfig=admin.kubeconfig \
    --manage-all-nodes=false --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake \
    --node-lease-duration-seconds=40 --node-ip=127.0.0.1 --cidr=10.244.0.0/16 \
    --server-address="127.0.0.1:$((port + 5))"
}

# wait_until PORT COMMAND...: two minutes at most.
wait_until() {
  local _ port=$1
  shift
  for _ in $(seq 600); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  tail -n 3 log/*.log >&2
  fail "no answer on ports from $port: $*"
}

# The newest first; what does not end in 10 s is killed.
stop() {
  local name pid _
  [ -f "$1/pids" ] || fail "$1 is no folder of start"
  while read -r name pid; do
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 50); do
      running "$pid" || break
      sleep 0.2
    done
    if running "$pid"; then
      say "$name did not end; killed"
      kill -9 "$pid" || true
    fi
  done < <(tac "$1/pids")
  rm -rf "$1"
}

running() { [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
