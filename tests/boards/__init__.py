"""The dashboard, the rules and the alerts of examples/: are they whole, and what does Prometheus say."""
