"""Components that bring models into service."""
