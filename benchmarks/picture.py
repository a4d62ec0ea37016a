"""A run as a picture, for the README: plain bars, one colour for asyncq."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.measures import ASYNCQ, GO, drain_key
from benchmarks.results import Result, Results

_PANELS = (
    (drain_key(1, 100), "no-op tasks run per second,\none worker process"),
    ("enqueue-concurrent", "tasks enqueued per second,\n100 calls in flight"),
    ("enqueue-bulk", "tasks enqueued per second,\nin bulk"),
    ("pick-up", "ms until an idle worker begins,\np50 (logarithmic)"),
)
_OURS, _OTHERS = "#d1495b", "#8d99ae"
_SHOWN = {GO: "asynq (Go)", "taskiq_list": "taskiq (list)", "taskiq_stream": "taskiq (stream)"}


def draw(run: Results, path: Path) -> None:
    """Writes the picture; the file's ending says the format.

    Raises:
        ImportError: matplotlib is not installed
    """
    # Only here, and untyped: the environment that checks the types does without it.
    plotting: Any = import_module("matplotlib.figure")
    panels = [
        (result, title)
        for key, title in _PANELS
        if (result := run.measures.get(key)) is not None and result.runs
    ]
    figure = plotting.Figure(figsize=(11, 3.4), layout="constrained")
    for number, (result, title) in enumerate(panels):
        _panel(figure.add_subplot(1, len(panels), number + 1), run, result, title)
    about = run.about
    figure.supxlabel(
        f"{about['cores']} cores, {about['server']}, Python {about['python']}, {about['date']}",
        fontsize=7,
        color="#555555",
    )
    # No date of making inside: the same figures make the same file.
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(axes: Any, run: Results, result: Result, title: str) -> None:
    medians = {
        name: spread.median
        for name in run.contestants
        if (spread := result.spread(name)) is not None
    }
    order = sorted(medians, key=medians.__getitem__, reverse=not result.more_is_better)
    bars = axes.barh(
        [_SHOWN.get(name, name) for name in order],
        [medians[name] for name in order],
        color=[_OURS if name == ASYNCQ else _OTHERS for name in order],
    )
    labels = [f"{medians[name]:,.0f}" if result.more_is_better else f"{medians[name]:.1f}"
              for name in order]  # fmt: skip
    axes.bar_label(bars, labels=labels, padding=2, fontsize=7)
    if not result.more_is_better:
        axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
