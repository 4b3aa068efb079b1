# A Docker Engine of its own in a private folder, and the base images that no registry gives it;
# read by scripts/check-image.
# shellcheck shell=bash
# shellcheck disable=SC2154 # the folders are the reader's

# The engine's own client: another one may speak no language of this engine.
docker() { /usr/bin/docker --host "unix://$run/docker.sock" "$@"; }

# Packages whose services, where there are any, are not started.
install_packages() {
  local absent=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      absent+=("$package")
  done
  [ ${#absent[@]} -gt 0 ] || return 0
  apt-get update -qq
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    "${absent[@]}" >/dev/null
}

# No bridge and no rules for packets: containers use this machine's network, or none.
start_engine() {
  local driver=vfs
  mkdir -p "$run/data" "$run/exec" "$run/try/"{lower,upper,work,merged}
  # Layers as such need a file system that lays one over another; else each is a whole copy.
  if mount -t overlay overlay -o "lowerdir=$run/try/lower,upperdir=$run/try/upper" \
    -o "workdir=$run/try/work" "$run/try/merged" 2>/dev/null; then
    umount "$run/try/merged"
    driver=overlay2
  fi
  dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver="$driver" \
    --data-root="$run/data" --exec-root="$run/exec" --pidfile="$run/docker.pid" \
    --host="unix://$run/docker.sock" >"$run/dockerd.log" 2>&1 &
  engine=$!
  wait_for 60 docker version
  say "engine $(docker version --format '{{.Server.Version}}'), storage by $driver"
}

# Whatever happened: no process, no mount, no file is left.
stop_engine() {
  local container
  if [ -n "${engine:-}" ] && kill -0 "$engine" 2>/dev/null; then
    for container in $(docker ps --quiet --all 2>/dev/null); do
      docker rm --force --volumes "$container" >/dev/null 2>&1 || true
    done
    kill "$engine" 2>/dev/null || true
    wait "$engine" 2>/dev/null || true
  fi
  awk -v run="$run" 'index($2, run "/") == 1 { print $2 }' /proc/mounts | sort -r |
    while read -r mounted; do umount -l "$mounted" 2>/dev/null || true; done
  rm -rf --one-file-system "$run"
}

# What the Dockerfile builds on: Debian with a C compiler, this machine's Rust, and the sources of
# all dependencies, so that the build needs no network. Kept under target/, without the sources.
make_base() {
  local name=$1 rust=${1#rust:} root=target/image/debian packages sysroot
  rust=${rust%%-*}
  packages=ca-certificates,g++,libc6-dev,libssl-dev,make,perl-base,pkg-config,python3-minimal
  [ "$(rustc --version | cut -d ' ' -f 2)" = "$rust" ] ||
    fail "the Dockerfile builds with $name, but here is $(rustc --version)"
  if [ "$(cat target/image/packages 2>/dev/null)" != "$packages" ]; then
    # In this run's own folder: while it is made, /proc is mounted in it.
    debootstrap --variant=minbase --include="$packages" "${name##*-}" "$run/debian" \
      >"$run/base.log" || fail "debootstrap: $(tail -n 5 "$run/base.log")"
    if mountpoint --quiet "$run/debian/proc"; then umount "$run/debian/proc"; fi
    rm -rf "$run/debian"/var/cache/apt/archives/*.deb "$run/debian"/var/lib/apt/lists/*
    rm -rf --one-file-system "$root"
    mv "$run/debian" "$root"
    echo "$packages" >target/image/packages
  fi
  mkdir -p "$run/cargo"
  cargo vendor --quiet --locked "$run/cargo/vendor" >/dev/null
  printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n%s\n' \
    /opt/rust/cargo/vendor "$profile" >"$run/cargo/config.toml"
  sysroot=$(rustc --print sysroot)
  # Paths of what comes from elsewhere get a new beginning, what symbolic links point to does not.
  tar --create --file - --directory "$root" . \
    --directory "$sysroot" --exclude lib/rustlib/src \
    --transform 'flags=rSh;s,^\(bin\|lib\|cargo\),opt/rust/\1,' bin/rustc bin/cargo lib \
    --directory "$run" cargo |
    docker import --change 'ENV CARGO_HOME=/opt/rust/cargo' \
      --change 'ENV PATH=/opt/rust/bin:/usr/bin:/bin:/usr/sbin:/sbin' - "$name" >/dev/null
  rm -rf "$run/cargo"
}
