"""Maps that only networks trained by a certain method offer."""
