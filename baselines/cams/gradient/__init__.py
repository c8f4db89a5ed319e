"""Methods that read features and the head's gradient."""
