"""Which versions of Envoy are served.

Envoy 1.36 does not start with our bootstrap (the admin's ``allow_paths`` is new in 1.37), refuses every http
listener with Zipkin (so are the values of custom tags), and does not know a listener's ``tcp_keepalive``.
1.37 refuses every http listener with an access log (``QUERY_PARAMS`` is new in 1.38).  1.38 to 1.40 pass the
core cases (`./build.sh matrix`).
"""

OLDEST = "1.38"


def parse_version(build_version: object) -> str:
    """ "1.40.0" from a node's ``user_agent_build_version`` (envoy.config.core.v3.BuildVersion) as JSON.

    Fields that are 0 are left out there.  Empty where it is no version.
    """
    version = build_version.get("version") if isinstance(build_version, dict) else None
    if not isinstance(version, dict) or "major_number" not in version:
        return ""
    numbers = [version.get(part, 0) for part in ("major_number", "minor_number", "patch")]
    if not all(type(number) is int and 0 <= number < 1000000 for number in numbers):
        return ""
    return ".".join(map(str, numbers))


def is_too_old(version: str) -> bool:
    """Whether this version, as ``parse_version`` returns it, is older than OLDEST; an unknown one is not."""
    return bool(version) and _numbers(version) < _numbers(OLDEST)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]
