# docker-compose.yml as its users start it: by the compose plugin, with the image that was just
# built, in networks and volumes of its own; read by scripts/check-image. Where no package registry
# has an image (servers, Prometheus), one under its name is made of packages: see stand_in.sh.
# Grafana alone is not run.
# shellcheck shell=bash
# shellcheck disable=SC2154 # the folders and functions are the reader's

compose_version=v2.40.3

compose() {
  DOCKER_HOST=unix://$run/docker.sock target/image/docker-compose --ansi never \
    --env-file /dev/null "$@" >>"$run/compose.log" 2>&1 ||
    fail "compose $*: $(tail -n 10 "$run/compose.log")"
}
full() { compose --profile full "$@"; }

# A main module of its own, which requires what compose does: `go install` refuses it.
build_compose() {
  local source=$run/compose module=github.com/docker/compose/v2
  [ "$(cat target/image/compose 2>/dev/null)" != "$compose_version" ] || return 0
  find_go "$PWD/target/image"
  mkdir "$source"
  (
    set -e
    set_go "$source"
    cd "$source"
    go mod download -json "$module@$compose_version" >module.json
    sed 's/^module .*/module compose/' \
      "$(sed -n 's/.*"GoMod": "\(.*\)".*/\1/p' module.json)" >go.mod
    echo "require $module $compose_version" >>go.mod
    go build -o docker-compose \
      -ldflags "-s -w -X $module/internal.Version=$compose_version" "$module/cmd"
  ) >"$run/compose.log" 2>&1 || fail "building compose: $(tail -n 5 "$run/compose.log")"
  mv "$source/docker-compose" target/image/docker-compose
  echo "$compose_version" >target/image/compose
  rm -rf "$source"
}

image_of() {
  awk -v head="  $1:" '$0 == head { here = 1 } here && $1 == "image:" { print $2; exit }' \
    docker-compose.yml
}

# stand_in SERVICE FOLDER PROGRAM [OWNER]: an image under the name that the service asks for, of
# Debian and the folder; PROGRAM gets the service's command.
stand_in() {
  printf 'FROM debian:bookworm\nCOPY --chown=%s . /\nENTRYPOINT ["%s"]\n' "${4:-0:0}" "$3" |
    docker build --quiet --network none --tag "$(image_of "$1")" --file - "$2" >/dev/null ||
    fail "no image for $1"
}

# Both servers with Java and the scripts that configure them, and Prometheus.
stand_ins() {
  local java home name root=$run/stand-in library=target/servers/lib
  java=$(readlink -f "$(command -v java)")
  home=${java%/bin/java}
  [ -d "$library/kafka-4.1.0" ] && [ -d "$library/cassandra-5.0.5" ] ||
    scripts/servers run -- true >"$run/servers.log" 2>&1 || fail "$(tail -n 5 "$run/servers.log")"
  tar --create --directory target/image/debian --exclude ./usr/lib/gcc --exclude ./usr/share . |
    docker import - debian:bookworm >/dev/null
  mkdir -p "$root/usr/bin" "$root/stand-in/servers" "$root${home%/*}" "$root/etc"
  cp scripts/lib/stand_in.sh scripts/lib/kafka.sh scripts/lib/cassandra.sh "$root/stand-in/"
  chmod 755 "$root/stand-in/stand_in.sh"
  cp -r "$library/kafka-4.1.0" "$library/cassandra-5.0.5" "$root/stand-in/servers/"
  cp -r "$home" "$root${home%/*}"
  # Where Debian keeps what its Java reads.
  if [ -d /etc/java-17-openjdk ]; then cp -r /etc/java-17-openjdk "$root/etc/"; fi
  ln -s "$java" "$root/usr/bin/java"
  for name in redpanda scylla rpk cqlsh; do
    ln -s /stand-in/stand_in.sh "$root/usr/bin/$name"
  done
  stand_in redpanda "$root" /usr/bin/env
  stand_in scylla "$root" /usr/bin/scylla
  install_prometheus "$PWD/target/observability"
  root=$run/stand-in-prometheus
  mkdir -p "$root/usr/bin" "$root/prometheus"
  cp "$(command -v prometheus)" "$(command -v promtool)" "$root/usr/bin/"
  stand_in prometheus "$root" /usr/bin/prometheus 65534:65534
}

container() {
  DOCKER_HOST=unix://$run/docker.sock target/image/docker-compose --profile full \
    --env-file /dev/null ps --quiet --all "$1"
}
of_container() { docker inspect --format "{{$2}}" "$(container "$1")"; }
are_healthy() {
  local service
  for service; do [ "$(of_container "$service" .State.Health.Status)" = healthy ] || return 1; done
}
was_restarted() { [ "$(of_container "$1" .RestartCount)" -gt 0 ]; }

# Its process ends by SIGKILL, and the engine starts another.
kill_once() {
  kill -9 "$(of_container "$1" .State.Pid)"
  wait_for 60 was_restarted "$1"
  wait_for 60 are_healthy "$1"
}

# match ID [BASE]: one more, posted there.
match() {
  local base=${2:-$base}
  ask /matches -H "authorization: Bearer $token" -d "{\"match_id\":\"$1\",\"environment\":\"go\",
    \"players\":[{\"agent\":\"a\",\"placement\":1},{\"agent\":\"b\",\"placement\":2}]}" |
    field position
}
log_in() { ask /login -d "{\"username\":\"$1\",\"password\":\"$2\"}" | field access_token; }
# games_are COUNT POSITION: of each of both agents, read where reads are answered.
games_are() {
  same 'the board' "$(ask "/leaderboard?environment=go&fields=games&min_position=$2" |
    grep -o '"games":[0-9]*' | paste -sd ' ')" "\"games\":$1 \"games\":$1"
}

# Nothing prepared, no profile: one process, its credentials, a match; killed, taken away and back.
compose_alone() {
  local base=http://127.0.0.1:8080 position password token
  compose up --detach --no-build --wait
  compose cp agon:/data/credentials "$run/credentials"
  password=$(awk '$1 == "password:" { print $2 }' "$run/credentials")
  token=$(log_in admin "$password")
  ask /api/v1/environments -H "authorization: Bearer $token" -d '{"id":"go"}' >/dev/null
  position=$(match first)
  games_are 1 "$position"
  kill_once agon
  games_are 1 "$position"
  compose down
  compose up --detach --no-build --wait
  games_are 1 "$position"
  compose down --volumes
  say 'compose: up with nothing prepared, restarted when killed, kept when taken down'
}

# The same system by role: who waits for whom, names, ports, and what Prometheus finds.
compose_full() {
  local base=http://127.0.0.1:8081 position password token start=$SECONDS
  local ours=(producer consumer-1 consumer-2 api) both=(redpanda scylla)
  full up --detach --no-build "${both[@]}" init "${ours[@]}" prometheus
  wait_for 120 are_healthy "${both[@]}" "${ours[@]}"
  say "compose: by role on both servers, healthy after $((SECONDS - start)) s"
  password=$(head -c 18 /dev/urandom | base64)
  full run --rm -T init user add alice --role admin --password-stdin \
    --store cql://scylla:9042/agon <<<"$password"
  token=$(log_in alice "$password")
  ask /api/v1/environments -H "authorization: Bearer $token" -d '{"id":"go"}' >/dev/null
  match first >/dev/null
  position=$(match second http://127.0.0.1:8082)
  games_are 2 "$position"
  kill_once consumer-1
  kill_once consumer-2
  position=$(match third)
  games_are 3 "$position"
  # Its own health check is not asked: the stand-in is older than that command.
  wait_for 90 four_are_scraped
  full down
  full up --detach --no-build "${both[@]}" init "${ours[@]}"
  wait_for 120 are_healthy "${both[@]}" "${ours[@]}"
  games_are 3 "$position"
  full down --volumes
  say 'compose: written at the producer, read at the API, through killed consumers and a restart'
}

four_are_scraped() {
  curl --silent --noproxy '*' --get --data-urlencode 'query=sum(up{job=~"agon.*"}) == 4' \
    http://127.0.0.1:9090/api/v1/query | grep -q '"4"'
}

check_composed() {
  build_compose
  compose_alone
  stand_ins
  compose_full
}
