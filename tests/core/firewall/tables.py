"""Firewall tables for property tests: few addresses, so that two tables have some in common."""

from hypothesis import strategies as st

from shim.core.firewall.table import Keeping, Served, Table

IPS = ("0.0.0.0", "::", "10.0.0.1", "10.0.0.2", "fd00::1")
addresses = st.builds(Served, st.sampled_from(IPS), st.integers(80, 83))


def firewall_tables() -> st.SearchStrategy[Table]:
    return st.builds(
        Table,
        st.frozensets(addresses, max_size=10),
        st.dictionaries(addresses, st.integers(9400, 9402), max_size=4),
        st.booleans(),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([Keeping(), Keeping(), Keeping(mark=1, inner=("lo", "docker0"))]),
        st.just(frozenset()) | st.frozensets(addresses, max_size=3),
    )
