"""The dataset folder: its names, its description, and what is read from it."""
