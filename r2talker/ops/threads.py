"""Work of compiled kernels shared among as many threads as torch uses; the kernels let go of the interpreter."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import torch


def share_out(work: Callable[[int, int], object], total: int, *, grain: int) -> None:
    """Call `work(start, stop)` on consecutive parts of range(total), one per thread, none smaller than `grain` but the last.

    Waits for all parts; an exception of a part is raised here.
    """
    parts = max(1, min(torch.get_num_threads(), total // max(grain, 1)))
    if parts == 1:
        work(0, total)
        return
    cuts = [total * part // parts for part in range(parts + 1)]
    others = [_pool(parts - 1).submit(work, start, stop) for start, stop in pairwise(cuts[1:])]
    work(0, cuts[1])
    for other in others:
        other.result()


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="share_out")
