"""MediaPipe 0.10.14, the last release whose wheel carries its models; imported on first use and kept quiet."""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from r2talker.errors import R2TalkerError


def load_solutions() -> Any:
    """Return `mediapipe.solutions`; R2TalkerError says what to install when it is missing or too new."""
    # Read by MediaPipe's C++ part when it is first loaded; without it every graph prints six lines.
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with quiet():
            from mediapipe.python import solutions
    except ImportError as error:
        raise R2TalkerError(
            f"MediaPipe 0.10.14 is needed to look at faces ({error}); install it with `pip install mediapipe==0.10.14`"
        ) from error
    return solutions


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the deprecation warnings that MediaPipe 0.10.14 provokes in newer numpy and protobuf."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Close the process's stderr for a while: MediaPipe's C++ start-up notes know no switch."""
    sys.stderr.flush()
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        with quiet():
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


def start_graph(make: Callable[[], Any]) -> Any:
    """Build a graph and feed it one grey picture, muted, so that it says all it has to say."""
    with muted():
        graph = make()
        graph.process(np.full((64, 64, 3), 128, np.uint8))
    return graph
