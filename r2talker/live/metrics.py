"""What is counted and measured, and its Prometheus text."""

import threading
from collections import Counter, deque
from collections.abc import Mapping

WINDOW = 500
"""Delays that percentiles are taken of."""


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie; 0 of nothing."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else 0.0


class Metrics:
    """Counters and delays; of one session, or with a `parent` that counts along, of all. Safe to use from several threads."""

    def __init__(self, parent: "Metrics | None" = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._delays: deque[float] = deque(maxlen=WINDOW)
        self._delay_sum, self._delay_count = 0.0, 0

    def count(self, name: str, amount: int = 1, *, reason: str = "") -> None:
        """Add to counter `name`."""
        with self._lock:
            self._counts[name, reason] += amount
        if self._parent is not None:
            self._parent.count(name, amount, reason=reason)

    def delay(self, milliseconds: float) -> None:
        """A delay from sound to lips that a page measured."""
        with self._lock:
            self._delays.append(milliseconds)
            self._delay_sum += milliseconds / 1000
            self._delay_count += 1
        if self._parent is not None:
            self._parent.delay(milliseconds)

    def total(self, name: str) -> int:
        """A counter over all reasons."""
        with self._lock:
            return sum(value for (counted, _), value in self._counts.items() if counted == name)

    def delays(self, *shares: float) -> list[float]:
        """Percentiles of the last delays, milliseconds."""
        with self._lock:
            known = list(self._delays)
        return [percentile(known, share) for share in shares]

    def text(self, gauges: Mapping[str, Mapping[str, float]]) -> str:
        """Prometheus text (exposition format 0.0.4) of everything, with gauges by name and label."""
        lines: list[str] = []
        with self._lock:
            counts = sorted(self._counts.items())
        for name in sorted({name for (name, _), _ in counts}):
            lines.append(f"# TYPE r2talker_{name}_total counter")
            for (counted, reason), value in counts:
                if counted == name:
                    lines.append(f"r2talker_{name}_total{_label('reason', reason)} {value}")
        p50, p95 = self.delays(0.5, 0.95)
        lines.append("# TYPE r2talker_sound_to_lips_seconds summary")
        lines += [f'r2talker_sound_to_lips_seconds{{quantile="{q}"}} {v / 1000:.6g}' for q, v in (("0.5", p50), ("0.95", p95))]
        lines.append(f"r2talker_sound_to_lips_seconds_sum {self._delay_sum:.6g}")
        lines.append(f"r2talker_sound_to_lips_seconds_count {self._delay_count}")
        for name, values in sorted(gauges.items()):
            lines.append(f"# TYPE r2talker_{name} gauge")
            lines += [f"r2talker_{name}{_label('of', key)} {value:.6g}" for key, value in sorted(values.items())]
        return "\n".join(lines) + "\n"


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{{{name}="{escaped}"}}' if value else ""
