"""MySQL 8 and MariaDB 10.6 and later, through PyMySQL.

May import what `storage` may, and none of the other databases. Start reading in `session.py`, then `driver.py`.
"""
