"""Components that fetch, check and divide data."""
