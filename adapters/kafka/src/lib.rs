//! The log on Kafka or Redpanda: topics, the idempotent producer, readers by position, the consumer
//! group, and the change feed.
