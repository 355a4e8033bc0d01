"""How the one file is put together: a shell prologue, the start-up path, and shiv's zip."""
