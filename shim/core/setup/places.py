"""Where things are put on a host, and what they are called."""

FILE = "/usr/local/bin/envoy-docker-shim"
CONFIG = "/etc/envoy-docker-shim.yaml"
UNITS = "/etc/systemd/system"
LOGROTATE = "/etc/logrotate.d/envoy-docker-shim"
REGISTRAR, ENVOY = "envoy-docker-shim.service", "envoy.service"
# The strict way's.
EGRESS, RULES = "docker-egress.service", "/etc/docker-egress.nft"
USER = "envoy"
# For an Envoy that is where its unit cannot have it.
ENVOY_COPY = "/usr/local/lib/envoy-docker-shim/envoy"
# Where an Envoy that came with the file is unpacked to, and what was done is written down.
STATE = "/var/lib/envoy-docker-shim"
RECORD = f"{STATE}/installed.json"
CACHE = "/var/cache/envoy-docker-shim"
RUN = "/run/envoy-docker-shim"
KEPT = ".before-envoy-docker-shim"  # added to the name of dockerd's settings file
# Where systemd looks for the program of a unit that names none.
UNIT_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")
