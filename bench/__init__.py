"""Measurements and long runs against the real programs."""
