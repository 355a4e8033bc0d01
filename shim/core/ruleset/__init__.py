"""The host's firewall as the kernel has it, and what it does with a packet: read, never written.

``chains.py``: rules as values, and what may become of a packet; ``nft_rules.py``: from nft's JSON;
``iptables_rules.py``: from what iptables-save prints; ``dnat.py``: the ports that rules lead elsewhere.
"""
