"""Attacks, each as somebody on the host would try it: red without its cure."""
