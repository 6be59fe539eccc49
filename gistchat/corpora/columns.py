"""The columns of a table: which is what, by names in English, German, Spanish and French, and what rows have there."""

import csv
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from gistchat.corpora.sources import TABLES, records
from gistchat.dialogue.lines import require_text, strip
from gistchat.dialogue.turns import Malformed
from gistchat.errors import UserError, shown
from gistchat.limits import LONGEST_LINE

# Names a column may have, in falling order of preference; the dialogue's own comes before a row's.
COLUMNS = {
    "dialogue": "dialogue dialogue_id dialog_id conversation conversation_id conv_id thread_id chat_id session_id",
    "speaker": "speaker speaker_id role author sender from user name speaker_name sender_name author_name from_name "
    "username user_name nickname nick participant character absender von verfasser sprecher wer benutzer benutzername "
    "autor remitente emisor usuario nombre de auteur expéditeur expediteur émetteur utilisateur nom",
    "text": "text utterance message content body turn message_text message_content message_body msg dialogue "
    "nachricht nachrichtentext inhalt äußerung äusserung mensaje texto contenido texte contenu",
    "order": "turn turn_id turn_number utterance_idx utterance_id index position",
    "date": "timestamp date datetime date_time sent sent_at date_sent created_at created message_date send_date "
    "unix_timestamp ts datum fecha timestamp_ms unixtime epoch date_and_time sent_date sent_time send_time "
    "created_time create_time message_time posted_at time_stamp time zeitstempel zeitpunkt datum_uhrzeit "
    "datum_und_uhrzeit gesendet gesendet_am erstellt erstellt_am fecha_hora fecha_y_hora enviado marca_de_tiempo "
    "date_heure date_et_heure horodatage envoyé envoyé_le utc date_utc datetime_utc timestamp_utc created_utc "
    "created_on published published_at posted updated updated_at",
    "time": "time uhrzeit zeit hora heure",  # of the day, beside a date
}
SEPARATOR = re.compile(r"sep=(.)\r?\n?", re.I)  # the first line of a CSV for Excel

Row = dict[str, str]  # what it has for each part of a turn


def has_turns(header: Iterable[str]) -> bool:
    """Whether a table with these columns tells who says what."""
    names = set(map(_plain, header))
    return all(names & set(COLUMNS[part].split()) for part in ("speaker", "text"))


def names_in(path: Path, beginning: str) -> list[str]:
    """The names of a CSV's columns."""
    lines = beginning.splitlines()[:2]
    mark, skipped = _delimiter(path, lines[0] if lines else "")
    return next(csv.reader(lines[skipped:][:1], delimiter=mark), [])


def rows_of(path: Path, chosen: Mapping[str, str]) -> Iterator[tuple[str, Row | Malformed]]:
    """What each row has for the parts of a turn, with its place.

    Args:
        chosen: the caller's own names of columns, by part.
    """
    return _table_rows(path, chosen) if path.suffix in TABLES else _csv_rows(path, chosen)


def _table_rows(path: Path, chosen: Mapping[str, str]) -> Iterator[tuple[str, Row | Malformed]]:
    columns: dict[str, str] = {}
    for location, row in records(path):
        columns = columns or _columns(location, list(row), chosen)
        cells = {part: "" if row[name] is None else str(row[name]) for part, name in columns.items()}
        yield location, _trimmed(cells)


def _csv_rows(path: Path, chosen: Mapping[str, str]) -> Iterator[tuple[str, Row | Malformed]]:
    """Rows with the file:line at which they end (a quoted text may go over several lines)."""
    rows = _cells(path)
    location, header = next(rows, (f"{path}:1", []))
    columns = {part: header.index(name) for part, name in _columns(location, header, chosen).items()}
    for location, cells in rows:
        dialogue = columns.get("dialogue", len(cells))
        name = strip(cells[dialogue]) if len(cells) > dialogue else "" if "dialogue" in columns else path.stem
        if len(cells) != len(header):
            yield location, Malformed(location, f"expected {len(header)} columns, found {len(cells)}", name)
        elif any("\udc80" <= char <= "\udcff" for cell in cells for char in cell):
            yield location, Malformed(location, "not UTF-8; save the file as UTF-8", name)
        else:
            yield location, _trimmed({part: cells[place] for part, place in columns.items()})


def _trimmed(row: Row) -> Row:
    """Without white space around names and numbers; a text stays as it is, as code may begin with an indentation."""
    return {part: value if part == "text" else strip(value) for part, value in row.items()}


def _cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Rows of a CSV that are not empty, the names of its columns first, with the file:line at which each ends."""
    require_text(path)
    # Bytes that are not UTF-8 come through as surrogates, so that only their own rows are bad.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        mark, skipped = _delimiter(path, first := file.readline(LONGEST_LINE))
        if not skipped:
            file.seek(0)
        csv.field_size_limit(LONGEST_LINE)
        lines = (line.replace("\0", "") for line in iter(functools.partial(file.readline, LONGEST_LINE), ""))
        spaced = f"{mark} " in first
        # Strict, as else an open quote would swallow the file's rest.
        reader = csv.reader(lines, delimiter=mark, strict=True, skipinitialspace=spaced)
        try:
            for row in reader:
                if any(map(str.strip, row)):
                    yield f"{path}:{reader.line_num + skipped}", row
        except csv.Error as error:
            unclosed = "a quote that is never closed, in this row or one before"
            problem = unclosed if "end of data" in str(error) else error
            raise UserError(f"{path}:{reader.line_num + skipped}: {problem}") from None


def _delimiter(path: Path, first: str) -> tuple[str, int]:
    """What stands between columns, and how many lines stand above their names.

    Spreadsheets write semicolons where the comma is the decimal mark.
    """
    if match := SEPARATOR.fullmatch(first):
        return match[1], 1
    return "\t" if path.suffix == ".tsv" else max(",;\t|", key=first.count), 0


def _plain(name: str) -> str:
    """In small letters, with _ between words: "Sent at", "sentAt" and "SentAt" are one name."""
    words = name if name.isupper() else re.sub(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])", "_", name)
    return re.sub(r"\W+", "_", words.lower()).strip("_")


def _columns(location: str, header: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """The name of the column for each of `COLUMNS` that has one."""
    names = {_plain(name): name for name in reversed(header)}
    present = ", ".join(name.strip().lower() for name in header) or "nothing"
    columns = {}
    for part, own in chosen.items():
        if part not in COLUMNS:
            raise UserError(f"{part}: no part of a table; one of: {', '.join(COLUMNS)}")
        if _plain(own) not in names:
            raise UserError(f"{location}: no column {shown(own)} for the {part}; found: {present}")
        columns[part] = names[_plain(own)]
    says = names.keys() & set(COLUMNS["text"].split()) - {"dialogue"} or "text" in columns
    for part, accepted in COLUMNS.items():
        if part == "dialogue" and not says:  # as scripts of films have it: what a character says
            accepted = accepted.removeprefix("dialogue ")
        free = [names[name] for name in accepted.split() if name in names and names[name] not in columns.values()]
        if part not in columns and free:
            columns[part] = free[0]
        elif part not in columns and part in ("speaker", "text"):
            usual = ", ".join(accepted.split()[:8])
            raise UserError(
                f"{location}: no column for the {part} (such as {usual}; or name it with --columns); found: {present}"
            )
    return columns
