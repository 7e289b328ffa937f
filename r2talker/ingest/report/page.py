"""Step `report`: `report.html`, one file that opens offline and shows how ingest went."""

import html
from collections.abc import Sequence
from pathlib import Path

import r2talker
from r2talker.data.folder import DatasetFolder
from r2talker.files import write_bytes
from r2talker.ingest.exclusion import format_frames
from r2talker.ingest.report import sheets
from r2talker.ingest.report.findings import SHORT_SECONDS, Finding, worst_frames
from r2talker.ingest.report.inspection import read_findings
from r2talker.ingest.report.panels import draw_panels
from r2talker.ingest.step import FPS, Step, StepResult, Workspace
from r2talker.report.page import make_page
from r2talker.report.pictures import draw_figure

_SHEET, _STRIP = 12, 8
_LONGEST_LIST = 220


def write_report(workspace: Workspace) -> StepResult:
    """Write `report.html`; readings: its size in bytes."""
    workspace.progress.begin("report", 1)
    findings = read_findings(workspace)
    excluded = workspace.readings("exclusion")["frames"]
    body = "".join(
        [
            _heading(workspace, findings, excluded),
            _warnings(workspace, findings, excluded),
            _contact_sheets(workspace),
            draw_panels(workspace, findings, excluded),
        ]
    )
    page = make_page(f"{workspace.video.name}: ingest report", body)
    write_bytes(report_path(workspace.folder), page)
    return StepResult(f"{report_path(workspace.folder)}: open it in a browser", {"bytes": len(page)})


def report_path(folder: DatasetFolder) -> Path:
    """Where a dataset's report lies."""
    return folder.root / "report.html"


def _heading(workspace: Workspace, findings: Sequence[Finding], excluded: Sequence[int]) -> str:
    clip, size = workspace.readings("frames")["clip"], workspace.config.size
    count = len(findings)
    verdict = f"{count} warning{'s' if count > 1 else ''}" if count else "no warnings"
    return (
        f"<h1>{html.escape(workspace.video.name)}</h1>"
        f'<p class="soft">{clip["width"]} &times; {clip["height"]}, {clip["fps"]:.4g} fps &rarr; {workspace.frames} pictures of '
        f"{size} &times; {size} at {FPS:g} fps &middot; r2talker {html.escape(r2talker.__version__)}</p>"
        f'<span class="verdict {"warn" if count else "good"}">{verdict}</span>{_tiles(workspace, excluded)}'
    )


def _tiles(workspace: Workspace, excluded: Sequence[int]) -> str:
    """The figures that matter, those out of the usual marked."""
    track, expression = workspace.readings("tracking"), workspace.readings("expression")
    seconds, train = workspace.frames / FPS, workspace.train_frames
    sync, late = workspace.readings("sync"), workspace.readings("sync")["late_frames"]
    left_out = sum(frame < train for frame in excluded)
    lag = "unknown" if late is None else f"{sync['lag_frames'] * 40:+d} ms" if sync["lag_frames"] else "in step"
    drift, steadied = workspace.readings("masks")["camera_drift_px"], workspace.readings("frames")["steadied_px"]
    camera = "unknown" if drift is None else f"{drift:.1f} px"
    before = "" if steadied is None else f"; steadied, it was {steadied:.1f} px"
    tiles = [
        (f"{seconds:.1f} s", "length", seconds < SHORT_SECONDS),
        (f"{train - left_out}", f"pictures to train on, {len(excluded)} excluded, {workspace.frames - train} held out", False),
        (f"{track['reprojection_px']:.2f} px", "reprojection error at 512 (1.2 is good)", track["reprojection_px"] > 1.2),
        (f"{track['jitter_deg']:.3f}&deg;", "trembling of the head pose (0.08 is good)", track["jitter_deg"] > 0.08),
        (f"{expression['mouth_opening_range_mm']:.0f} mm", "range of the mouth's opening", False),
        (f"{workspace.readings('background')['seen_share']:.0%}", "of the background seen", False),
        (camera, f"drift of the camera at 512{before}", drift is not None and drift > 1.5),
        (lag + (", shifted" if sync["fixed"] else ""), "sound against lips", sync["lag_frames"] != 0 and not sync["fixed"]),
    ]
    cells = (f'<div class="tile{" warn" if odd else ""}"><b>{value}</b><span>{text}</span></div>' for value, text, odd in tiles)
    return f'<div class="tiles">{"".join(cells)}</div>'


def _warnings(workspace: Workspace, findings: Sequence[Finding], excluded: Sequence[int]) -> str:
    if not findings:
        return ""
    draw = sheets.plain(workspace)
    cards = []
    for finding in findings:
        order = sorted(range(len(finding.badness)), key=lambda k: -finding.badness[k])
        shown = sorted(finding.frames[k] for k in order[:_STRIP]) if order else finding.frames[:_STRIP]
        numbers = f"<p>Pictures <code>{_shorten(format_frames(finding.frames))}</code></p>" if finding.frames else ""
        strip = f'<div class="strip">{"".join(_figure(draw, frame) for frame in shown)}</div>' if shown else ""
        cards.append(
            f'<div class="card warn"><h3>{html.escape(finding.kind)}</h3><p>{html.escape(finding.what)}</p>{numbers}'
            f'<p class="do">{html.escape(finding.advice)}</p>{strip}</div>'
        )
    worst = worst_frames(findings, workspace.frames)
    open_ones = [frame for frame in worst if frame not in set(excluded)]
    hint = ""
    if open_ones:
        hint = (
            f"<p>{_count(open_ones)} can be left out: run the same command with <code>--exclude worst</code>, or choose "
            "yourself, such as <code>--exclude 120-140,300</code>. They stay excluded in later runs and in training.</p>"
        )
    if excluded:
        numbers = _shorten(format_frames(excluded))
        hint += f"<p>Excluded from training: <code>{numbers}</code> (<code>--exclude none</code> takes them back).</p>"
    return f"<h2>Warnings</h2>{''.join(cards)}{hint}"


def _contact_sheets(workspace: Workspace) -> str:
    frames = sheets.choose_frames(workspace.frames, _SHEET)
    kinds = (
        ("Landmarks", "must follow brows, lids, lips and jaw", sheets.with_landmarks(workspace)),
        (
            "Masks",
            "head blue, neck green, torso red; no seams, no holes, hair and ears with the head",
            sheets.with_masks(workspace),
        ),
        ("Mesh", "the rest shape at the tracked pose; must sit on forehead, nose and eye corners", sheets.with_mesh(workspace)),
    )
    parts = []
    for title, note, draw in kinds:
        cells = "".join(_figure(draw, frame) for frame in frames)
        parts.append(f'<h2>{title} <small>{note}</small></h2><div class="sheet">{cells}</div>')
    return "".join(parts)


def _figure(draw: sheets.Drawing, frame: int) -> str:
    return draw_figure(draw(frame), f"picture {frame}", f"{frame} &middot; {frame / FPS:.2f} s")


def _count(frames: Sequence[int]) -> str:
    return f"The {len(frames)} worst pictures" if len(frames) > 1 else "The worst picture"


def _shorten(text: str) -> str:
    """A list of numbers that does not fill the page."""
    if len(text) <= _LONGEST_LIST:
        return text
    return text[: text.rindex(",", 0, _LONGEST_LIST)] + ",&hellip;"


STEP = Step(
    "report",
    2,
    (
        "frames",
        "audio",
        "landmarks",
        "tracking",
        "expression",
        "eyes",
        "masks",
        "background",
        "inspection",
        "exclusion",
        "sync",
    ),
    ("size", "focal"),
    write_report,
    lambda workspace: [report_path(workspace.folder)],
)
