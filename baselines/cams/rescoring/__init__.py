"""Methods that score masked images or features again."""
