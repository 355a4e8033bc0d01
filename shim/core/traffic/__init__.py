"""What passes each service: Envoy's statistics and relays' reports made into rates, percentiles and rows."""
