"""The UDP relay that a shim turns into: batches of datagrams under trio."""
