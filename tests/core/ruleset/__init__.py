"""The firewall's rules, read."""
