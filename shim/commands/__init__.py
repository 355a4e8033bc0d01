"""The commands around the registrar: bootstrap, up, status, resync."""
