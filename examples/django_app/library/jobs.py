"""What Django's interface for tasks has no words for: a job that tells how far it is, and one that recurs.

embedq's Django app imports the modules `jobs` and `tasks` of each app, in every process of the project.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from io import TextIOWrapper

from django.db import transaction
from django.db.models import F

import embedq
from django_app.library.models import Book, Catalogue
from django_app.library.tasks import nightly_report
from embedq.contrib.django.tasks import job_of

REPORT = "nightly report"
LINES_IN_A_BATCH = 20
# A real import would wait for a slow service. Without this, the bar would be full before anyone sees it.
SECONDS_A_BATCH = 0.08


@embedq.job(queue="imports")
def import_catalogue(catalogue_id: int) -> None:
    """Take the books of a catalogue, a batch of lines at a time.

    It may be interrupted anywhere, by kill -9 or a power failure, and then runs again, from the end of the last batch.
    """
    job, catalogue = embedq.current_job(), Catalogue.objects.get(pk=catalogue_id)
    lines = list(books(catalogue))
    for start in range(catalogue.done, len(lines), LINES_IN_A_BATCH):
        if job.cancelled:  # the process stops; the job goes back to the queue, and on at the next start
            return
        time.sleep(SECONDS_A_BATCH)
        batch = lines[start : start + LINES_IN_A_BATCH]
        # The books and how far we are, in one transaction. So each line is taken once, however often this is killed.
        with transaction.atomic():
            for line in batch:
                if line is not None:
                    book, is_new = Book.objects.get_or_create(title=line[0], author=line[1])
                    if not is_new:
                        Book.objects.filter(pk=book.pk).update(times_listed=F("times_listed") + 1)
            catalogue.done = start + len(batch)
            catalogue.taken += sum(line is not None for line in batch)
            catalogue.save()
        job.progress(catalogue.done / len(lines), f"{catalogue.done} of {len(lines)} lines")
    catalogue.finished = True
    catalogue.save()


def books(catalogue: Catalogue) -> Iterator[tuple[str, str] | None]:
    """The titles and authors of a catalogue; None for a line that is no book.

    Raises:
        Discard: it is no catalogue. To try again would not help, so the job is dead at once.
    """
    try:
        with catalogue.file.open("rb") as file:
            rows = csv.DictReader(TextIOWrapper(file, encoding="utf-8-sig", newline=""))
            if not {"title", "author"} <= set(rows.fieldnames or ()):
                raise embedq.Discard("not a catalogue: its first line must be title,author")
            for row in rows:
                title, author = row["title"], row["author"]
                yield (title, author) if title and author and max(len(title), len(author)) <= 200 else None
    except (UnicodeDecodeError, csv.Error) as error:
        raise embedq.Discard(f"not a catalogue: {error}") from error


# At three in the morning by the village's clock, summer and winter. Every process that loads the project comes by here:
# it adds the schedule once, or brings it up to date. A night on which no process ran is made up for by one late report.
embedq.recurring(REPORT, "0 3 * * *", job_of(nightly_report), timezone="Europe/Berlin")
