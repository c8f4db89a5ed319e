"""What people call from Python: results, explanations, comparisons."""
