"""The checks, on facts made up."""
