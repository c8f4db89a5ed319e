"""Recipes of trainings: what a file may say, the files that ship, and the optimiser that follows from one."""
