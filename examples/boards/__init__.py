"""Makes what examples/ has for Grafana and Prometheus; `./build.sh boards` writes it.

The dashboard and the rules ask the same questions, each for its own services and over its own time:
queries.py has them.  Everything here is pure, and files.py says which text goes into which file.
"""
