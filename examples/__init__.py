"""What users copy; `boards` makes some of it."""
