# How a Kafka node is configured and started; one process is broker and controller.
# shellcheck shell=bash disable=SC2034,SC2154 # sourced by scripts/servers, whose settings it reads

kafka_config() {
  local node=$1 home=$2 voters='' each advertised replicas=$kafka_nodes isr=1
  local clients map=PLAINTEXT:PLAINTEXT broker
  broker=BROKER://127.0.0.1:$(broker_port "$node")
  clients=PLAINTEXT://127.0.0.1:$(kafka_port "$node")
  advertised=PLAINTEXT://$(public_address "kafka-$node" | tr ' ' :)
  if [ "$auth" = yes ]; then
    map=SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
    clients=SASL_PLAINTEXT://127.0.0.1:$(kafka_port 1),SSL://127.0.0.1:$((port_base + 16))
    clients+=,SASL_SSL://127.0.0.1:$((port_base + 17))
    advertised=$clients
    secure_config "$home"
  fi
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
listeners=$clients,$broker,CONTROLLER://127.0.0.1:$((port_base + 5 + node))
advertised.listeners=$advertised,$broker
listener.security.protocol.map=$map,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
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

# Users, rights, and a certificate that make_certificate makes. Brokers and controllers speak to
# each other without a name, so the nameless may all: on the TLS listener without SASL too.
secure_config() {
  local home=$1 name users='' of=org.apache.kafka.common.security
  for name in admin reader guest; do users+=" user_$name=\"$name-secret\""; done
  for name in sasl_plaintext sasl_ssl; do
    cat <<CONFIG
listener.name.$name.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.$name.plain.sasl.jaas.config=$of.plain.PlainLoginModule required$users;
listener.name.$name.scram-sha-256.sasl.jaas.config=$of.scram.ScramLoginModule required;
CONFIG
  done
  cat <<CONFIG
ssl.keystore.type=PKCS12
ssl.keystore.location=$home/keys.p12
ssl.keystore.password=servers
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
CONFIG
}

make_certificate() {
  local home=$1 store=(-keystore "$1/keys.p12" -storepass servers -alias broker)
  keytool -genkeypair "${store[@]}" -storetype PKCS12 -keyalg EC -dname CN=agon-test \
    -validity 3650 -ext san=ip:127.0.0.1,dns:localhost >"$home/keys.log" 2>&1 &&
    keytool -exportcert -rfc "${store[@]}" >"$home/ca.pem" 2>>"$home/keys.log" ||
    fail "make a certificate: keytool failed; see $home/keys.log"
}

# One of Kafka's own tools, past logins and proxies.
kafka_tool() {
  local class=$1
  shift
  CLASSPATH="$lib/kafka-$kafka_version/*" java -Xmx256m -Dlog4j2.level=error \
    "org.apache.kafka.tools.$class" --bootstrap-server "127.0.0.1:$(broker_port 1)" "$@"
}

grant_kafka() {
  kafka_tool AclCommand --add --allow-principal User:reader --operation Describe \
    --operation DescribeConfigs --operation Read --topic '*' >"$dir/kafka-1/acls.log" 2>&1 ||
    fail "grant rights: see $dir/kafka-1/acls.log"
}

make_kafka() {
  local node=$1 home=$dir/kafka-$1 cluster=$2 users=()
  mkdir -p "$home"
  if [ "$auth" = yes ]; then
    make_certificate "$home"
    users=(--add-scram 'SCRAM-SHA-256=[name=admin,password=admin-secret]')
  fi
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
    -t "$cluster" -c "$home/server.properties" "${users[@]}" >"$home/format.log" 2>&1 || {
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
