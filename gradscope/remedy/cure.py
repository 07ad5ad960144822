"""The search: remedies in the order in which theory expects a cure of them, each trained, then two together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gradscope.detect.remedy import REMEDIES
from gradscope.errors import ConfigError, GradscopeError, TrainingError
from gradscope.record.finding import Verdict
from gradscope.remedy.candidate import Candidate, Outlook, candidates, ranked
from gradscope.remedy.trial import Trial, attempt
from gradscope.training.build import Setup
from gradscope.training.loop import Watcher

PARENTS, PAIRS = 3, 8
"""How many single remedies are gone on from with a second one, and how many pairs are tried."""
NO_FINDING = ("learning-rate-up", "learning-rate-down")
"""What is added where a remedy left nothing to find, and still little was learned."""


@dataclass(frozen=True)
class Tried:
    """A candidate and what came of it: a trial, None where it could not be trained. ``shortcoming`` is None for a cure.

    ``eases`` says that it is healthy and learned something, though too little to be called a cure.
    """

    candidate: Candidate
    outlook: Outlook | None
    trial: Trial | None
    shortcoming: str | None
    eases: bool = False

    @property
    def cures(self) -> bool:
        return self.shortcoming is None


@dataclass(frozen=True)
class Fix:
    """What ``fix`` found: the config as it was given, all that was tried in this order, and the cure.

    ``left`` are candidates that were not tried, since theory expects no cure of them or another one cured.
    """

    given: Candidate
    sick: Trial
    outlook: Outlook | None
    tried: tuple[Tried, ...] = ()
    left: tuple[Candidate, ...] = ()

    @property
    def cure(self) -> Tried | None:
        """Of those that cure the one that changes least, of several the first; without any, the one that eases best."""
        best = min((t for t in self.tried if t.cures), key=lambda t: t.candidate.cost, default=None)
        return best or max((t for t in self.tried if t.eases), key=_learned, default=None)

    @property
    def pathological(self) -> bool:
        """Whether there was more to cure than what is told as information."""
        return self.sick.report.verdict is not Verdict.HEALTHY

    @property
    def healthy(self) -> bool:
        """Whether there was nothing to cure."""
        return not self.sick.open


@dataclass(frozen=True)
class Lookers:
    """Who is told what happens: ``begin`` before each trial, ``setup`` and ``progress`` as ``train`` has them."""

    begin: Callable[[str, Candidate], None] | None = None
    setup: Callable[[Setup], None] | None = None
    progress: Watcher | None = None


def fix(
    given: Candidate,
    sick: Trial,
    out: Path | None = None,
    *,
    everything: bool = False,
    lookers: Lookers = Lookers(),
) -> Fix:
    """Try the remedies of what was found in ``sick``, the training of ``given``; stop at the first cure, or try them all.

    Runs are recorded in ``out``, a folder each, or in memory. Raises ``KeyboardInterrupt`` after a Ctrl-C.
    """
    if not sick.open:
        return Fix(given, sick, None)
    outlook = _outlook(given)
    search = _Search(sick, out, lookers, everything)
    singles = ranked(candidates(given, sick.case, sick.open), outlook)
    search.through(c for c in singles if c[0].hopeless is None or everything)
    if search.goes_on:
        search.through(_pairs(search.tried, sick))
    if search.goes_on:  # theory has been wrong before
        search.through(c for c in singles if c[0].hopeless is not None)
    done = {t.candidate.text for t in search.tried}
    return Fix(given, sick, outlook, tuple(search.tried), tuple(c for c, _ in singles if c.text not in done))


class _Search:
    def __init__(self, sick: Trial, out: Path | None, lookers: Lookers, everything: bool) -> None:
        self.sick, self.out, self.lookers, self.everything = sick, out, lookers, everything
        self.tried: list[Tried] = []

    @property
    def goes_on(self) -> bool:
        """Whether nothing has cured so far."""
        return not any(t.cures for t in self.tried)

    def through(self, entries: Iterable[tuple[Candidate, Outlook | None]]) -> None:
        for candidate, outlook in entries:
            if not self.everything and not self.goes_on:
                return
            self.tried.append(self._one(candidate, outlook))

    def _one(self, candidate: Candidate, outlook: Outlook | None) -> Tried:
        if self.lookers.begin is not None:
            self.lookers.begin(f"try {len(self.tried) + 1}", candidate)
        folder = self.out / f"{len(self.tried) + 1:02d}-{candidate.name}" if self.out is not None else None
        try:
            trial = attempt(
                candidate.config, folder, sick=self.sick, on_setup=self.lookers.setup, progress=self.lookers.progress
            )
        except (ConfigError, TrainingError) as error:
            return Tried(candidate, outlook, None, f"cannot be trained: {error}")
        return Tried(candidate, outlook, trial, trial.shortcoming(self.sick), trial.eases(self.sick))


def _pairs(tried: list[Tried], sick: Trial) -> Iterator[tuple[Candidate, Outlook | None]]:
    """Two remedies: the second answers what the first one left, as its own run shows it."""
    ran = [t for t in tried if t.trial is not None and len(t.candidate.applied) == 1 and t.candidate.hopeless is None]
    best = sorted(ran, key=_promise)[:PARENTS]
    seen = [t.candidate.config for t in tried]
    found: list[tuple[Candidate, Outlook | None]] = []
    for parent in best:
        assert parent.trial is not None
        for candidate, expected in ranked(_seconds(parent, sick), parent.outlook):
            if candidate.config not in seen and not candidate.hopeless:
                seen.append(candidate.config)
                found.append((candidate, expected))
    yield from sorted(found, key=lambda entry: bool(entry[1] and entry[1].codes))[:PAIRS]


def _learned(tried: Tried) -> tuple[float, float]:
    trial = tried.trial
    assert trial is not None
    loss = trial.validation_loss
    return trial.accuracy or 0.0, -(loss if loss is not None else trial.loss)


def _promise(tried: Tried) -> tuple[bool, bool, float]:
    """Best first: not given up, healthy, with the least error left."""
    trial = tried.trial
    assert trial is not None
    return trial.stopped is not None, trial.report.verdict is not Verdict.HEALTHY, trial.residual


def _seconds(parent: Tried, sick: Trial) -> Iterator[Candidate]:
    trial, first = parent.trial, parent.candidate.applied[0]
    assert trial is not None
    if trial.open:
        yield from candidates(parent.candidate, trial.case, trial.open)
    else:
        for name in NO_FINDING:
            for proposal in REMEDIES[name].propose(trial.case):
                yield parent.candidate.with_remedy(proposal, sick.open)
    for other in candidates(parent.candidate, trial.case, sick.open):
        if other.applied[-1].remedy != first.remedy:
            yield other


def _outlook(given: Candidate) -> Outlook | None:
    try:
        return given.outlook()
    except GradscopeError:
        return None
