"""Readers, books, and the catalogues that books come in."""

from __future__ import annotations

from django.db import models


class Reader(models.Model):
    """A person who signed up.

    Attributes:
        mail: the id of the task that mails them, as Django's `get_result` takes it.
    """

    name = models.CharField(max_length=80)
    email = models.EmailField(unique=True)
    mail = models.CharField(max_length=100, blank=True)
    greeted_at = models.DateTimeField(null=True)


class Book(models.Model):
    """A book. `times_listed` counts the catalogues' lines that named it."""

    title = models.CharField(max_length=200)
    author = models.CharField(max_length=200)
    times_listed = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["title", "author"], name="a_book_is_there_once"),)


class Catalogue(models.Model):
    """An uploaded list of books. `done` of its lines have been looked at, and `taken` of them were books.

    Attributes:
        job: the number of the job that reads it.
    """

    name = models.CharField(max_length=200)
    file = models.FileField()
    job = models.BigIntegerField(null=True)
    done = models.PositiveIntegerField(default=0)
    taken = models.PositiveIntegerField(default=0)
    finished = models.BooleanField(default=False)

    @property
    def refused(self) -> int:
        """Lines that were no books."""
        return int(self.done - self.taken)


class Report(models.Model):
    """What a nightly report found."""

    made_at = models.DateTimeField(auto_now_add=True)
    text = models.TextField()
