"""Sines and cosines of growing frequency."""
