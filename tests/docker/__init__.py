"""Tests on a real dockerd, in a network namespace of its own."""
