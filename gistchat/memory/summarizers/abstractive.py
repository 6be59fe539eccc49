"""Written summaries: what all writers share. Cutting to what they can read, the guards, where a sentence is from."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gistchat.context.types import Sentence
from gistchat.dialogue.text_repair import clean_line
from gistchat.dialogue.turns import Turn
from gistchat.memory.sentences import content_words, is_finished, whole_sentences
from gistchat.memory.summarizer import Job, Update
from gistchat.memory.summarizers.extractive import Extractor
from gistchat.memory.summarizers.faithfulness import fault

LEAST_ROOM = 32  # tokens of dialogue that a writer must be able to read at once
ENOUGH_OVERLAP = 0.5  # of the best turn's overlap, for another turn to count as a source too
MOST_SOURCES = 3


class Request(NamedTuple):
    """What a writer is asked to summarise: the summary so far (or nothing), and lines "Name: text" that came after."""

    summary: str
    dialogue: str


class Writer(Protocol):
    """A model that writes summaries."""

    room: int  # tokens of its own that a request may have

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, as the writer counts them."""

    def write(self, requests: Sequence[Request]) -> list[str]:
        """A summary for each request. Raises UserError where none can be had."""


@dataclass
class Abstractive:
    """A summarizer around a writer; where the guards refuse what it wrote, the extractive one takes over."""

    writer: Writer
    fallback: Extractor
    budget: int  # of a summary, in tokens of the dialogue model

    def update(self, jobs: Sequence[Job]) -> list[Update]:
        """The new gist of each job. Jobs that the writer cannot read at once go to it piece by piece, each with the
        summary of those before."""
        summaries = [
            " ".join(f"{line.speaker}: {line.text}" if line.speaker else line.text for line in job.gist) for job in jobs
        ]
        pieces = [self._pieces(job, summary) for job, summary in zip(jobs, summaries, strict=True)]
        faults = [""] * len(jobs)
        for number in range(max(map(len, pieces), default=0)):
            asked = [i for i in range(len(jobs)) if number < len(pieces[i]) and not faults[i]]
            requests = [Request(summaries[i], pieces[i][number]) for i in asked]
            for i, request, written in zip(asked, requests, self.writer.write(requests), strict=True):
                summaries[i] = _trimmed(clean_line(written), jobs[i])
                faults[i] = fault(summaries[i], f"{request.summary}\n{request.dialogue}")
        return [self._update(*job_result) for job_result in zip(jobs, summaries, faults, strict=True)]

    def _update(self, job: Job, summary: str, problem: str) -> Update:
        if problem or not job.turns:  # what is there becomes shorter without being written again
            [extracted] = self.fallback.update([job])
            return Update(extracted.sentences, problem)
        return Update(attributed(whole_sentences(summary), job))

    def _pieces(self, job: Job, summary: str) -> list[str]:
        """The job's lines in pieces that the writer can read beside the longest summary that there may be."""
        room = max(self.writer.room - max(self.writer.count([summary])[0], self.budget), LEAST_ROOM)
        lines = [f"{turn.speaker}: {turn.text}" for turn in job.turns]
        costs = [cost + 1 for cost in self.writer.count(lines)]  # and a line break
        pieces: list[list[str]] = []
        left = 0
        for turn, line, cost in zip(job.turns, lines, costs, strict=True):
            if cost > room:
                pieces += [[part] for part in self._cut(turn, room)]
                left = 0
            elif pieces and cost <= left:
                pieces[-1].append(line)
                left -= cost
            else:
                pieces.append([line])
                left = room - cost
        return ["\n".join(piece) for piece in pieces]

    def _cut(self, turn: Turn, room: int) -> list[str]:
        """A turn that is longer than the writer reads, in parts of whole words, halved until each fits."""
        line = f"{turn.speaker}: {turn.text}"
        if self.writer.count([line])[0] < room or len(turn.text) < 2:
            return [line]
        middle = len(turn.text) // 2
        space = turn.text.rfind(" ", 0, middle)
        at = space if space > 0 else middle
        halves = (turn.text[:at].strip(), turn.text[at:].strip())
        return [part for half in halves if half for part in self._cut(Turn(turn.speaker, half), room)]


def _trimmed(summary: str, job: Job) -> str:
    """Without a last sentence that broke off, and without those over the budget."""
    sentences = whole_sentences(summary)
    if len(sentences) > 1 and not is_finished(sentences[-1]):
        sentences.pop()
    while sentences and sum(job.cost(Sentence(-1, "", sentence)) for sentence in sentences) > job.budget:
        sentences.pop()
    return " ".join(sentences)


def attributed(sentences: Sequence[str], job: Job) -> tuple[Sentence, ...]:
    """Written sentences with the turns that they share most content words with: those of the job, or those that a
    sentence of the gist before came from. The order stays as written."""
    candidates = [((line.sources or (line.turn,)), Counter(content_words(line.text))) for line in job.gist]
    candidates += [
        ((number,), Counter(content_words(f"{turn.speaker} {turn.text}")))
        for number, turn in enumerate(job.turns, job.first)
    ]
    lines: list[Sentence] = []
    for text in sentences:
        words = Counter(content_words(text))
        overlaps = [(sum((words & other).values()), sources) for sources, other in candidates]
        best = max((overlap for overlap, _ in overlaps), default=0)
        near = [sources for overlap, sources in overlaps if best and overlap >= ENOUGH_OVERLAP * best]
        sources = sorted({turn for turns in near for turn in turns})[:MOST_SOURCES] or [job.first]
        place = max(sources[0], lines[-1].turn if lines else -1)  # so that sorting by turn keeps the order
        lines.append(Sentence(place, "", text.strip(), tuple(sources)))
    return tuple(lines)
