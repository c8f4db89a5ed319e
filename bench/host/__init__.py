"""The machine: errors, progress, memory."""
