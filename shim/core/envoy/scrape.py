"""The listener where Envoy's statistics are scraped when its admin is a Unix socket: one page, to be read."""

from shim.core.endpoint import Endpoint
from shim.core.envoy.json import EXTENSIONS, Json, socket_address

ADMIN_CLUSTER = "envoy_docker_shim_admin"
LISTENER = "envoy_docker_shim_scrape"
PAGE = "/stats/prometheus"


def scrape_listener(address: Endpoint) -> Json:
    """A static listener that passes GET for PAGE on to the admin, and answers 404 to all else."""
    match = {"path": PAGE, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}
    manager = {
        "@type": EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": LISTENER,
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {"idle_timeout": "600s"},
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "scrape",
                    "domains": ["*"],
                    "routes": [{"match": match, "route": {"cluster": ADMIN_CLUSTER, "timeout": "30s"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": EXTENSIONS + "filters.http.router.v3.Router"}}
        ],
    }
    return {
        "name": LISTENER,
        "address": socket_address(address.host, address.port),
        "stat_prefix": LISTENER,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
