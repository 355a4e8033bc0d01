"""Keeps the kernel's table as the registrar wants it (trio): see ``keeper.py``, and shim/core/firewall."""
