"""The kit that every model server is built with: start-up, protocols, limits, metrics, logs and health."""
