"""What a release shows among its run's artifacts. A server that is away changes nothing."""

from __future__ import annotations

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from tasks.domain.model import Revision, Verdict
from tasks.domain.units import format_share
from tasks.record import Record


def show_verdict(service: str, revision: Revision, share: int, verdict: Verdict) -> None:
    """One step's verdict.

    Args:
        share: Basis points that *revision* had.
    """
    title = f"{service} {revision.version} with {format_share(share)} of the traffic: {verdict.result}"
    rows = "".join(f"| {f.result} | {f.slot} | {f.metric} | {f.reason} |\n" for f in verdict.findings)
    _show(
        f"verdict-{service}",
        title,
        f"# {title}\n\n| result | of | metric | why |\n|---|---|---|---|\n{rows}",
    )


def show_report(record: Record) -> None:
    """The whole release, once it has ended: what `davy report` shows, in short."""
    from tasks.report.markdown import markdown_of  # noqa: PLC0415 - draws, which only the end of a release does
    from tasks.report.story import story_of  # noqa: PLC0415

    try:
        story = story_of(record)
        markdown = markdown_of(story)
    except Exception as error:  # noqa: BLE001 - the release has ended, whatever is shown of it
        get_run_logger().warning("The report could not be drawn: %s", error, exc_info=True)
        return
    _show(f"report-{record.service.service}", story.headline, markdown)


def _show(key: str, description: str, markdown: str) -> None:
    try:
        create_markdown_artifact(key=key, description=description, markdown=markdown)
    except Exception as error:  # noqa: BLE001 - whatever the server has, the release goes on
        get_run_logger().warning("The artifact %s could not be written: %s", key, error)
