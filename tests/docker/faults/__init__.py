"""What breaks, dies, stands still or floods while a real dockerd, registrar and Envoy run."""
