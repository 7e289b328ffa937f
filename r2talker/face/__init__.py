"""What MediaPipe sees in a picture: faces, their mesh, and the person; the only room that knows MediaPipe."""
