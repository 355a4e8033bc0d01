"""Our file and docker-proxy side by side, in one run on one machine: bench/run."""
