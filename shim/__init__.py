"""envoy-docker-shim: Docker's published ports, served by Envoy.

One file, several roles (see ``shim.__main__``).  Data flows one way::

    proxy  --registration-->  registrar  --snapshot-->  Envoy
      |                           |
      +--------> core <-----------+        (pure: values in, values out)

* ``proxy``      what dockerd starts for each published port; standard library only
* ``relay``      the UDP relay a shim turns into (trio)
* ``registrar``  the daemon: leases, labels from Docker, xDS for Envoy (trio)
* ``commands``   resync, status, bootstrap, up
* ``core``       the logic all of them share; no I/O in it
* ``artifact``   how the shipped file is put together
"""

__version__ = "0.1.0"
