"""What is counted and measured, and its Prometheus text."""

import threading
from collections import Counter, deque
from collections.abc import Mapping

WINDOW = 1000
"""Readings that percentiles are taken of."""
SHARES = (0.5, 0.95)
STAGES = ("perform", "draw", "encode", "send")
"""Of the pipeline, in their order."""


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them lie; 0 of nothing."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else 0.0


class _Readings:
    """The last readings of one kind, and the sum of all."""

    def __init__(self) -> None:
        self.last: deque[float] = deque(maxlen=WINDOW)
        self.sum, self.count = 0.0, 0

    def add(self, value: float) -> None:
        self.last.append(value)
        self.sum += value
        self.count += 1


class Metrics:
    """Counters and times; of one session, or with a `parent` that counts along, of all. Safe to use from several threads."""

    def __init__(self, parent: "Metrics | None" = None) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._times: dict[tuple[str, str], _Readings] = {("sound_to_lips", ""): _Readings()}

    def count(self, name: str, amount: int = 1, *, reason: str = "") -> None:
        """Add to counter `name`."""
        with self._lock:
            self._counts[name, reason] += amount
        if self._parent is not None:
            self._parent.count(name, amount, reason=reason)

    def delay(self, milliseconds: float) -> None:
        """A delay from sound to lips that a page measured."""
        self._observe("sound_to_lips", "", milliseconds / 1000)

    def spend(self, stage: str, seconds: float) -> None:
        """The time that one frame was in a stage of the pipeline, waiting for it included."""
        self._observe("stage", stage, seconds)

    def _observe(self, name: str, of: str, seconds: float) -> None:
        with self._lock:
            self._times.setdefault((name, of), _Readings()).add(seconds)
        if self._parent is not None:
            self._parent._observe(name, of, seconds)

    def total(self, name: str) -> int:
        """A counter over all reasons."""
        with self._lock:
            return sum(value for (counted, _), value in self._counts.items() if counted == name)

    def delays(self, *shares: float) -> list[float]:
        """Percentiles of the last delays from sound to lips, milliseconds."""
        with self._lock:
            known = list(self._times["sound_to_lips", ""].last)
        return [percentile(known, share) * 1000 for share in shares]

    def spent(self, stage: str, *shares: float) -> list[float]:
        """Percentiles of the last times in a stage, seconds."""
        with self._lock:
            known = list(readings.last) if (readings := self._times.get(("stage", stage))) else []
        return [percentile(known, share) for share in shares]

    def text(self, gauges: Mapping[str, Mapping[str, float]]) -> str:
        """Prometheus text (exposition format 0.0.4) of everything, with gauges by name and label."""
        lines: list[str] = []
        with self._lock:
            counts = sorted(self._counts.items())
            times = sorted((key, list(known.last), known.sum, known.count) for key, known in self._times.items())
        for name in sorted({name for (name, _), _ in counts}):
            lines.append(f"# TYPE r2talker_{name}_total counter")
            for (counted, reason), value in counts:
                if counted == name:
                    lines.append(f"r2talker_{name}_total{_labels(reason=reason)} {value}")
        for name in sorted({name for (name, _), *_ in times}):
            lines.append(f"# TYPE r2talker_{name}_seconds summary")
            for (timed, of), last, total, number in times:
                if timed == name:
                    for share in SHARES:
                        where = _labels(of=of, quantile=f"{share:g}")
                        lines.append(f"r2talker_{name}_seconds{where} {percentile(last, share):.6g}")
                    lines.append(f"r2talker_{name}_seconds_sum{_labels(of=of)} {total:.6g}")
                    lines.append(f"r2talker_{name}_seconds_count{_labels(of=of)} {number}")
        for name, values in sorted(gauges.items()):
            lines.append(f"# TYPE r2talker_{name} gauge")
            lines += [f"r2talker_{name}{_labels(of=key)} {value:.6g}" for key, value in sorted(values.items())]
        return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    """Labels that have a value, in braces."""
    escaped = {
        name: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for name, value in labels.items() if value
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}" if escaped else ""
