"""What Docker says of a container, and what its labels make of it: the only place where labels are read."""
