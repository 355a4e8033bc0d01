"""Coverage-guided fuzzing of whatever reads what others wrote, and of the state machines behind it.

    python -m tests.fuzz TARGET --seconds 300

A target is a function of bytes that returns, or raises where an invariant does not hold.  With
`pip install atheris` the run is guided by coverage; without it inputs are mutations of the seeds.
test_targets.py runs every target for a moment on the same inputs each time.
"""
