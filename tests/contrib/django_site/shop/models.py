"""What the shop stores."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    """An order."""

    name = models.CharField(max_length=100)
