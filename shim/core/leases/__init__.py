"""Leases: a live shim's claim on a published address, and what follows from all of them.

Four words say how something goes away, here and in the registrar:

* A shim **releases** its lease: dockerd told it to end, and it waits until its port is off every Envoy.
* A listener is **withdrawn**: it is taken out of what Envoy is told, whatever the reason.
* A cluster is **retired** when no lease needs it; it is removed once no Envoy leads to it any more.
* A lease **ends** with its shim's process, released or not; nothing of it is left then.
"""
