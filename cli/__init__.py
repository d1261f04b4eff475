"""The `blueprints` command: reads arguments, calls the house, prints."""
