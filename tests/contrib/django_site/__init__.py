"""A small Django project, for the tests of embedq.contrib.django."""

from __future__ import annotations

from importlib.util import find_spec

# Which of the two tasks frameworks this Django has.
TASKS_FRAMEWORK = "django.tasks" if find_spec("django") and find_spec("django.tasks") else "django_tasks"
