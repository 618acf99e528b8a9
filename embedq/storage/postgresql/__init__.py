"""PostgreSQL, for several machines, through psycopg 3.

May import what `storage` may, and none of the other databases. Start reading in `session.py`, then `driver.py`.
"""
