"""Does what a plan of shim.core.setup says: looks at the host, changes it, and takes it back."""
