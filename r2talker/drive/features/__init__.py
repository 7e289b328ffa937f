"""Kinds of audio features that others' models and tools expect, each a class with rate, width and receptive field.

`LogMel`, the one that needs no download, stands beside them in `r2talker.drive.log_mel`.
"""
