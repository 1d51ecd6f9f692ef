"""`davy backtest`: recorded releases judged again, by one judge or several, and how often each is wrong."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deployments.backtest_cases import Case, Known, LeftOut, Stage, read_folder, read_journal, read_labels
from deployments.backtest_judges import Judge, read_judges
from deployments.backtest_scores import Backtest, Delay, Replayed, Score
from tasks.domain.errors import InputError
from tasks.domain.model import Result
from tasks.journal import Journal, all_journals

PREFIXES = 120
"""A share is judged after so many of its points at most, evenly spread; after each where it has fewer."""


@dataclass(frozen=True)
class Options:
    """What was asked for.

    Attributes:
        configs: A canary config, a service file, or one of each.
        judges: Names; none for all that the configs allow.
        releases: A folder of journals or of pairs; None for Davy's own journals.
        labels: A file of outcomes that override the recorded ones.
        passing: The score from which a canary passes; None for the service file's, or the usual one.
        marginal: Likewise, from which it is marginal.
        plot: Where to write a plot (SVG); None for nowhere.
    """

    configs: Sequence[Path]
    judges: Sequence[str] = ()
    releases: Path | None = None
    labels: Path | None = None
    passing: float | None = None
    marginal: float | None = None
    plot: Path | None = None


def backtest(options: Options) -> Backtest:
    """Judge every recorded release again.

    Raises:
        InputError: A file is not as it should be or can't be written, or there is no release; not retried.
        JournalError: A journal was tampered with; not retried.
    """
    asked = read_judges(options.configs, options.judges, options.passing, options.marginal)
    cases, left_out = _collect(options, asked.metrics)
    scores = []
    for judge in asked.judges:
        said = {case.name: replay(case, judge) for case in cases}
        silent = tuple(case for case, one in said.items() if one is None)
        scores.append(Score(judge.name, tuple(one for one in said.values() if one), silent))
    if not any(score.replayed for score in scores):
        raise InputError(
            "releases", ", ".join(case.name for case in cases), "at least one that its judges can judge"
        )
    found = Backtest(tuple(scores), tuple(left_out))
    if options.plot:
        _write_plot(found, options.plot)
    return found


def _write_plot(found: Backtest, file: Path) -> None:
    from deployments.backtest_plot import plot_of  # noqa: PLC0415 - only who wants a plot waits for matplotlib

    try:
        file.write_text(plot_of(found), encoding="utf-8")
    except OSError as error:
        raise InputError("--plot", str(file), f"a file that can be written ({error.strerror})") from error


def _collect(options: Options, metrics: Collection[str]) -> tuple[list[Case], list[LeftOut]]:
    """The recorded releases with their outcomes, and those that can't be used."""
    labels = read_labels(options.labels) if options.labels else {}
    folder = options.releases
    if folder and not folder.is_dir():
        raise InputError("releases", str(folder), "a folder of journals, or of files of metric pairs")
    journals = (
        [Journal(path) for path in sorted(folder.rglob("*.jsonl"))]
        if folder
        else sorted(all_journals(), key=lambda journal: journal.path)
    )
    read = [read_journal(journal, metrics, labels) for journal in journals if journal.exists()]
    cases = [one for one in read if isinstance(one, Case)]
    of_pairs = read_folder(folder, metrics) if folder and metrics else ()
    cases += [replace(case, known=labels.get(case.name, case.known)) for case in of_pairs]
    left_out = [one for one in read if isinstance(one, LeftOut)]
    named = {case.name for case in cases} | {one.name for one in left_out}
    left_out += [LeftOut(name, "has a label, but was not recorded") for name in sorted(set(labels) - named)]
    if not cases:
        where = str(folder or "Davy's journals")
        raise InputError(
            "releases",
            where,
            f"at least one release with a known outcome that these judges can judge; {len(left_out)} left out",
        )
    return cases, left_out


def replay(case: Case, judge: Judge) -> Replayed | None:
    """What *judge* says of *case* at its end, and when it would first have failed; None when it can't be asked."""
    shares = [share for share in case.stages if isinstance(share, judge.kind)]
    results = [result for share in shares if (result := judge.verdict(share))]
    if not results:
        return None
    found = first_failure(shares, judge, case.began)
    late = found if case.known is Known.BAD and found and found.points > 0 else None
    alarm = found is not None and late is None
    return Replayed(case.name, case.known, Result.worst(results), late, alarm=alarm)


def first_failure(shares: Sequence[Stage], judge: Judge, began: int = 0) -> Delay | None:
    """The first growing stretch of *shares* that fails.

    Args:
        began: After how many points of the first share the version became bad; the delay counts from there.
    """
    points, time = -began, -began * shares[0].step
    for share in shares:
        every = max(1, share.points // PREFIXES)
        for until in [*range(every, share.points, every), share.points]:
            if judge.verdict(share.until(until)) is Result.FAIL:
                return Delay(points + until, time + until * share.step)
        points, time = points + share.points, time + share.points * share.step
    return None
