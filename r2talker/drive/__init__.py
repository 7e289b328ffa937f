"""Sound becomes what moves the face: audio features, audio to landmarks, windows, head poses. Torch only, no files."""
