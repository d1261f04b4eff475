"""Controllers: from objects to running processes, and back into their status."""
