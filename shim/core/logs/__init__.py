"""The access log as people read it; how Envoy is told to write it is core/envoy/access_log.py."""
