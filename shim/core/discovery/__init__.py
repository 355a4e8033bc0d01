"""Discovery (xDS over REST): versioned sets of resources, what each Envoy has of them, what to answer it."""
