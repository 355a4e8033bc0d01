"""Real peers for tests: an Envoy, collectors that keep the spans they get, and backends to proxy to."""
