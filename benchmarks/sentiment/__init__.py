"""The benchmark of the sentiment blueprint."""
