# Debian's Prometheus; read by what runs one.
# shellcheck shell=bash

# install_prometheus DIR: unpacked there alone, for an installed one would start itself as a
# service. One that is installed is taken as it is.
install_prometheus() {
  export PATH=$1/usr/bin:$PATH
  if command -v promtool prometheus >/dev/null; then return; fi
  apt-cache show prometheus >/dev/null 2>&1 || apt-get update -qq
  mkdir -p "$1/packages"
  (cd "$1/packages" && apt-get download -qq prometheus)
  dpkg-deb -x "$1"/packages/prometheus_*.deb "$1"
}
