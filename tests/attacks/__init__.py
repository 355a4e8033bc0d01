"""What other users of a host, and its clients, may try; each test attacks the built file as they would."""
