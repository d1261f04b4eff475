"""The engine's ports on a Kubernetes cluster: routes, metrics, leases and InferenceServices."""
