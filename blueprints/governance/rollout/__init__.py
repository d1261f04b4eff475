"""Rollouts: a candidate takes traffic step by step, and statistics say whether it goes on, waits or goes back."""
