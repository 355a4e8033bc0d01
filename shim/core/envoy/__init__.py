"""What Envoy is told: the bootstrap, and a listener and a cluster for each published TCP port.

``modes`` is the table that everything else about a mode follows from.
"""
