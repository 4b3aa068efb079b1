# How a Kafka node is configured and started; one process is broker and controller.
# shellcheck shell=bash disable=SC2034,SC2154 # sourced by scripts/servers, whose settings it reads

kafka_config() {
  local node=$1 home=$2 voters='' each advertised replicas=$kafka_nodes isr=1
  advertised=$(public_address "kafka-$node" | tr ' ' :)
  [ "$kafka_nodes" = 1 ] || isr=2
  for ((each = 1; each <= kafka_nodes; each++)); do
    voters+=,$each@127.0.0.1:$((port_base + 5 + each))
  done
  # A killed broker may come back only when its old session has ended: 9 s by default, here 3.
  # Brokers speak to each other on a listener of their own: a proxy stands before clients alone.
  cat <<CONFIG
process.roles=broker,controller
node.id=$node
controller.quorum.voters=${voters#,}
listeners=PLAINTEXT://127.0.0.1:$(kafka_port "$node"),BROKER://127.0.0.1:$((port_base + 2 + node)),\
CONTROLLER://127.0.0.1:$((port_base + 5 + node))
advertised.listeners=PLAINTEXT://$advertised,BROKER://127.0.0.1:$((port_base + 2 + node))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs=$home/data
default.replication.factor=$replicas
min.insync.replicas=$isr
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$isr
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
CONFIG
}

make_kafka() {
  local node=$1 home=$dir/kafka-$1 cluster=$2
  mkdir -p "$home"
  kafka_config "$node" "$home" >"$home/server.properties"
  cat >"$home/log4j2.properties" <<'CONFIG'
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{HH:mm:ss.SSS} %p %c{1} %m%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
CONFIG
  CLASSPATH="$lib/kafka-$kafka_version/*" java -Dlog4j2.level=error kafka.tools.StorageTool format \
    -t "$cluster" -c "$home/server.properties" >"$home/format.log" 2>&1 || {
    tail -n 5 "$home/format.log" >&2
    fail "format the log directory of kafka-$node failed; its last lines are above"
  }
}

java_kafka() {
  local home=$1 heap=768m
  [ "$kafka_nodes" = 1 ] || heap=512m
  export CLASSPATH="$lib/kafka-$kafka_version/*"
  command=(java "-Xmx$heap" "-Dlog4j2.configurationFile=file://$home/log4j2.properties"
    kafka.Kafka "$home/server.properties")
}
