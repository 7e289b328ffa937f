"""Networks that the user brings (`--model-dir`), in place of those that come with the package."""
