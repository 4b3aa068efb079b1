# What setup.sh and teardown.sh share: words, versions, and one way to run what changes something.
# shellcheck shell=bash

# What setup.sh makes bears this label, and teardown.sh removes nothing without it.
# shellcheck disable=SC2034 # the readers use it
ours=app.kubernetes.io/managed-by=agon-setup
dry_run=''
context=''
missing=''

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "${0##*/}: $*"
  exit 1
}
wrong() {
  say "${0##*/}: $*; see $0 --help"
  exit 2
}

# act WHAT COMMAND...: says it, and runs the command unless this is a dry run.
act() {
  local what=$1
  shift
  if [ -n "$dry_run" ]; then
    say "would $what: $*"
    return
  fi
  say "$what"
  "$@" >&2 || fail "could not $what; the command was: $*"
}

# look WHAT COMMAND...: what the command prints; nothing in a dry run, which asks nobody.
look() {
  shift
  if [ -n "$dry_run" ]; then return; fi
  "$@" 2>/dev/null
}

# The first version that a command prints, or nothing.
version_of() {
  "$@" 2>/dev/null | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1 || true
}

# need NAME LEAST FOUND: remembers what is missing or too old.
need() {
  if [ -z "$3" ]; then
    missing+=$'\n'"  $1 $2 or newer: not there"
  elif [ "$(printf '%s\n' "$2" "$3" | sort -V | head -n 1)" != "$2" ]; then
    missing+=$'\n'"  $1 $2 or newer: this is $3"
  fi
}

enough_tools() {
  [ -n "$missing" ] || return 0
  if [ -z "$dry_run" ]; then
    say "${0##*/}: this is needed first:$missing"
    exit 3
  fi
  say "would stop here, for this is needed first:$missing"
  missing=''
}

kube() { kubectl --context "$context" "$@"; }
kube_agon() { kube --namespace agon "$@"; }
