"""Pure logic: no sockets, files, environment, clock, logging or trio.

Time comes in as an argument (seconds on a monotonic clock), results go out as values.  The nouns that all
packages share are in the files beside them:

* ``discovery``  versioned sets of resources, what each Envoy has of them, what to answer its next poll
* ``envoy``      what Envoy is told: bootstrap, listeners, clusters, and the table of modes
* ``docker``     what Docker says of containers, and the table of labels
* ``leases``     which shims there are, and which listeners and clusters follow from them
"""
