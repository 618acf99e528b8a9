"""The village library, a Django project: its mail, its catalogue and its nightly report are background jobs.

    python examples/django_app/manage.py runserver

Mail and report are tasks by Django's own API (`library/tasks.py`); the import of a catalogue is a job of embedq's,
which can tell how far it is (`library/jobs.py`). Read `library/views.py` first, then these two.
"""
