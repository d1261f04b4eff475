"""Governance: which model may answer, who said so, and how to go back."""
