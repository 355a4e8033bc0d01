"""What may be wrong on a host, and what cures it: checks of facts, each a row of one table (``checks.py``).

``facts.py``: what there is to know, gathered by shim.doctor; ``of_*.py``: the checks, by what they look at;
``report.py``: all checks made, and their results as text.
"""
