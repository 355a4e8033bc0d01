"""Spans that the registrar keeps by itself: read from OTLP, put in a ring, shown as traces."""
