"""What is told to the person who filmed: warnings with picture numbers, and the page that shows how ingest went."""
