"""``./build.sh demo``: the main job, shown on this machine, which is left as it was."""
