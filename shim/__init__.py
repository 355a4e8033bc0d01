"""envoy-docker-shim: Docker's published ports, served by Envoy.

One file, several roles (see ``shim.__main__``).  Data flows one way::

    dockerd --flags--> proxy --registration--> registrar --resources--> Envoy
                         |                         |
                       relay (UDP)              Docker's API

* ``wire``       what dockerd, shims and the registrar say to each other; the lowest layer, and light
* ``core``       the logic; pure
* ``config``     the configuration's keys, and how it is read
* ``host``       what the kernel tells of this host's processes and sockets
* ``setup``      `install` and `uninstall`: looks at the host, changes it, and takes it back
* ``proxy``      what dockerd starts for each published port; built-in modules only
* ``relay``      the UDP relay that a shim turns into (trio)
* ``registrar``  the daemon: leases, labels from Docker, xDS for Envoy (trio)
* ``setup``      looks at a host, and does what install and uninstall planned
* ``doctor``     asks this host what the checks of ``core.doctor`` look at
* ``commands``   status, bootstrap, up, ...: one file each, in the table of roles.py
* ``artifact``   how the shipped file is put together

Which may import which is the table in tests/test_imports.py.
"""

__version__ = "0.1.0"
