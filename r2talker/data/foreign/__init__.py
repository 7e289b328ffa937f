"""Dataset folders that other tools made, opened as they are."""
