"""The daemon: it keeps the leases, learns labels from Docker, and serves xDS to Envoy (trio)."""
