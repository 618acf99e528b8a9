"""The PostgreSQL backend: for several machines. Needs psycopg 3."""
