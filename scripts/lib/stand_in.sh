#!/bin/bash
# What answers in a container where docker-compose.yml names an image that no package registry has:
# Apache Kafka for Redpanda, Apache Cassandra for ScyllaDB. It is called by the names that the
# commands and health checks of that file use, and speaks the same protocols.
# shellcheck disable=SC2034 # kafka.sh and cassandra.sh read the settings
set -euo pipefail

lib=/stand-in/servers
kafka_nodes=1 cassandra_nodes=1 kafka_version=4.1.0 cassandra_version=5.0.5
kafka_advertised='' cassandra_advertised='' cassandra_sync=batch auth=no port_base=29000
public_address() { echo "$(hostname -i) 9042"; }
kafka_port() { echo 9092; }
broker_port() { echo 29093; }
cql_port() { echo 9042; }
fail() {
  echo "$*" >&2
  exit 1
}
# shellcheck source=scripts/lib/kafka.sh
. /stand-in/kafka.sh
# shellcheck source=scripts/lib/cassandra.sh
. /stand-in/cassandra.sh

# listeners LIST: internal://A:1,external://B:2 as Kafka writes it.
listeners() { sed 's/internal:/INTERNAL:/; s/external:/EXTERNAL:/' <<<"$1"; }

redpanda() {
  local home=/var/lib/redpanda/data/kafka-1 word bound='' told=''
  dir=${home%/*}
  if [ ! -f "$home/server.properties" ]; then
    for word; do
      case $word in
        --kafka-addr=*) bound=$(listeners "${word#*=}") ;;
        --advertise-kafka-addr=*) told=$(listeners "${word#*=}") ;;
      esac
    done
    make_kafka 1 AAAAAAAAAAAAAAAAAAAAAQ
    sed -i "s|^listeners=[^,]*|listeners=$bound|; s|^\(advertised.listeners\)=[^,]*|\1=$told|
      s|^\(listener.security.protocol.map\)=|\1=INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT,|" \
      "$home/server.properties"
  fi
  java_kafka "$home"
  exec "${command[@]}"
}

scylla() {
  local home=/var/lib/scylla/cassandra-1
  dir=${home%/*}
  make_cassandra 1
  sed -i 's/^rpc_address: .*/rpc_address: 0.0.0.0/' "$home/cassandra.yaml"
  java_cassandra "$home"
  exec "${command[@]}"
}

# answers PORT: whether somebody listens there, on this container's own address.
answers() { timeout 2 bash -c "exec 3<>/dev/tcp/$(hostname -i)/$1" 2>/dev/null; }

case ${0##*/} in
  redpanda) redpanda "$@" ;;
  scylla) scylla "$@" ;;
  rpk) answers 29092 && echo 'Healthy:               true' ;;
  cqlsh) answers 9042 ;;
esac
