"""One pipeline per blueprint; only wiring."""
