"""Docker's own firewall is on, as Docker installs it, and a client asks from a machine on the same wire."""
