"""Where rays enter and leave an axis-aligned box."""
