"""The commands around the registrar: install, uninstall, bootstrap, up, status, resync."""
