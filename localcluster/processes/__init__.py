"""One process for each container: started, probed, restarted with back-off, and ended with all that it started."""
