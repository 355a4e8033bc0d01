"""What the kernel is told so that a served port's connections reach Envoy and not Docker's own rules.

``table.py``: the desired state, a value; ``names.py``: every name and number; ``script.py``: what nft reads;
``listing.py``: what nft says is there; ``notices.py``: the kernel's word on who changed what;
``routes.py``: the way back of connections that keep their client's address.
"""
