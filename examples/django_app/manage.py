"""Django's command line, on this project."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # The folder of all examples, in place of this one: the project is the package `django_app`.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_app.settings")

    from django.core.management import execute_from_command_line

    # So that one command is enough to try it. A project of yours migrates when it is deployed; embedq's tables are made
    # by that as well.
    if sys.argv[1:2] == ["runserver"] and "RUN_MAIN" not in os.environ:
        execute_from_command_line(["manage.py", "migrate", "--verbosity=0"])
    execute_from_command_line(sys.argv)
