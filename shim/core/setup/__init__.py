"""What `install` and `uninstall` are to do, worked out from what is found on the host; pure."""
