"""embedq in a Django project.

    INSTALLED_APPS = [..., "embedq.contrib.django"]
    EMBEDQ = {"workers": 10}                 # optional: the fields of embedq.Settings, and those of conf.py

The project's own database holds the jobs, `embedq.default_app()` is bound to it, and workers run wherever the project
serves requests. `manage.py embedq` is the command line. `tasks.EmbedQBackend` runs Django's own tasks.

    conf            the setting EMBEDQ
    addresses       the URL of embedq's database, from DATABASES
    binding         the default app on this project: configured, connected when needed, started with the server
    guarding        the middleware that switches the guard on
    job_environment the environment of a job: fresh connections, the default language and time zone
    transactions    enqueueing inside atomic()
    tasks           the backend for django.tasks

May import what `contrib` may. Start reading in `binding.py`.
"""

from embedq.contrib.django.binding import start
from embedq.contrib.django.guarding import guard_requests

__all__ = ["guard_requests", "start"]
