"""Components that measure, audit and explain models."""
