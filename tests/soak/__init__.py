"""Random events on a real dockerd and a real Envoy, and clients that check every answer.

What is promised (the tables of the README's "Operating"), and counted against:

* A port that nothing has touched answers every request, and with its own container's words: while other
  containers come and go, while the registrar is dead, stands still or starts again, while dockerd is away
  (with live-restore), while another port's shim is killed.  UDP ports also while Envoy is away.
* No answer ever comes from another container than the one that has the port.
* A second (`--promise`) after its cause has gone every disturbance is over: a container that was started
  answers within a second of the moment that it does so by itself; all ports do within a second of Envoy's
  or dockerd's return; what came or went while the registrar was away is served, or refused, within a second
  of its return.
* A port whose container was stopped refuses connections, and UDP too.
* Docker never says "address already in use" of a stopped container's port, unless that was stopped while
  the registrar was away, as the README says; that is counted apart.
* A killed shim's binding goes within a second, and takes no other port along.
* In the end Docker, dockerd's processes, the registrar and Envoy name the same ports and containers; the
  registrar holds two pipes for each port; and when all containers are removed nothing is left: no
  binding, listener, cluster, shim, zombie or descriptor, and the registrar has not grown.

`journal` decides what a failure is due to; `specs` says what is published; `slot` and `lanes` are what
happens to containers, `faults` to the programs; `clients` ask; `views`, `leaks` and `ending` look at what
is there at the end; `soak` puts it together and `report` counts.
"""
