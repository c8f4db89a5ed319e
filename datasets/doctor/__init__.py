"""What lies in a data folder, and the next step."""
