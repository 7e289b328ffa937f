"""A procedural talking person with a voice and exact ground truth, for the demo, the tests and the documentation's pictures."""
