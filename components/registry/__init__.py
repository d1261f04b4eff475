"""Components that package, compare, register and promote models."""
