"""Programs that print figures, and their tests."""
