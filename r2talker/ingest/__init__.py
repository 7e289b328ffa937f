"""A raw video becomes a dataset folder: one file per step, each resumable and checkable on its own (`pipeline.ingest`)."""
