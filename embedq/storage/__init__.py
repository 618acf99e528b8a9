"""Storing jobs.

`base` is the interface: a `Database` runs functions over a `Transaction`, which finds SQL by name. Operations on jobs
are written once, as such functions (`jobs`, `claims`, `schedules`, `servers`, …). `sql` holds the statements that mean
the same on every database (`named_sql` explains them), and `columns` lists the tables and their columns. `sqlite`,
`postgresql` and `mysql` each hold the SQL that differs and how transactions run, and `inspect` is the read model.
`backends` opens the database that a URL names.

May import the ground, `display`, `observability` and `process`; it knows neither functions nor schedules. Start reading
in `base.py`, then `jobs.py` and `claims.py`.
"""
