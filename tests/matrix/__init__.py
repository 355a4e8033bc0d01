"""The core cases over every version of what we run with: `./build.sh matrix`."""
