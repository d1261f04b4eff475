"""A Kubernetes API server that real clients can use."""
