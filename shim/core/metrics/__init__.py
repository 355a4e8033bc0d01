"""Metrics of our own: what they are made of, and how they are written."""
