"""What `doctor` and `status` say of a host with Docker, while it is healthy and while it is not."""
