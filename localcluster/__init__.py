"""A laptop's stand-in for a cluster: what the manifests describe, run as processes on this machine."""
