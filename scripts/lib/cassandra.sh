# How a Cassandra node is configured and started.
# shellcheck shell=bash disable=SC2034,SC2154 # sourced by scripts/servers, whose settings it reads

# Evenly spread, one token a node.
tokens=(-9223372036854775808 -3074457345618258603 3074457345618258602)

make_cassandra() {
  local node=$1 home=$dir/cassandra-$1 period='commitlog_sync_period: 10000ms'
  local authenticator=AllowAllAuthenticator authorizer=AllowAllAuthorizer
  mkdir -p "$home"
  [ "$cassandra_sync" = periodic ] || period=''
  [ "$auth" = no ] || authenticator=PasswordAuthenticator authorizer=CassandraAuthorizer
  cat >"$home/cassandra.yaml" <<CONFIG
cluster_name: agon-test
num_tokens: 1
initial_token: "${tokens[$((node - 1))]}"
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{seeds: "127.0.0.1:$((port_base + 11))"}]
listen_address: 127.0.0.$node
rpc_address: 127.0.0.$node
broadcast_rpc_address: $(public_address "cassandra-$node" | cut -d' ' -f1)
storage_port: $((port_base + 11))
ssl_storage_port: $((port_base + 12))
native_transport_port: $(cql_port)
endpoint_snitch: SimpleSnitch
commitlog_sync: $cassandra_sync
$period
data_file_directories: [$home/data]
commitlog_directory: $home/commitlog
saved_caches_directory: $home/saved
hints_directory: $home/hints
cdc_raw_directory: $home/cdc
disk_failure_policy: stop
commit_failure_policy: stop
auto_snapshot: false
authenticator: $authenticator
authorizer: $authorizer
CONFIG
  cat >"$home/logback.xml" <<'CONFIG'
<configuration><appender name="out" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%d{HH:mm:ss.SSS} %level %logger{0} %msg%n</pattern></encoder></appender>
<root level="INFO"><appender-ref ref="out"/></root></configuration>
CONFIG
}

# What Cassandra reaches into, which Java 17 closes.
exports='java.base/jdk.internal.misc java.base/jdk.internal.ref java.base/sun.nio.ch
  java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry
  java.rmi/sun.rmi.server java.sql/java.sql java.base/java.lang.ref jdk.unsupported/sun.misc'
opens='java.base/java.lang.module java.base/jdk.internal.loader java.base/jdk.internal.ref
  java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module
  java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal java.base/sun.nio.ch
  java.base/java.io java.base/java.lang java.base/java.util java.base/java.util.concurrent
  java.base/java.util.concurrent.atomic java.base/java.nio java.rmi/sun.rmi.transport.tcp'

java_cassandra() {
  local home=$1 node=${1##*-} heap=1g module
  [ "$cassandra_nodes" = 1 ] || heap=512m
  export CLASSPATH="$lib/cassandra-$cassandra_version/*"
  command=(java "-Xms$heap" "-Xmx$heap")
  for module in $exports; do command+=(--add-exports "$module=ALL-UNNAMED"); done
  for module in $opens; do command+=(--add-opens "$module=ALL-UNNAMED"); done
  command+=(-Djdk.attach.allowAttachSelf=true
    "-Dcassandra.config=file://$home/cassandra.yaml" "-Dcassandra.storagedir=$home"
    "-Dcassandra.logdir=$home" "-Dlogback.configurationFile=file://$home/logback.xml"
    -Dcassandra-foreground=yes -Dcassandra.skip_wait_for_gossip_to_settle=0
    -Dcassandra.ring_delay_ms=1000 "-Dcassandra.jmx.local.port=$((port_base + 12 + node))"
    org.apache.cassandra.service.CassandraDaemon)
}
