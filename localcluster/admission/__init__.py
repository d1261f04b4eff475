"""Rules and defaults of each kind, beyond its schema: what an API server and KServe's webhooks do with an object."""
