"""embedq in web frameworks: each module, or folder, is for one, and imports it.

May import `embedq`, `cli` and all below. Start reading in `asgi.py`, or in the `__init__.py` of `django` or `flask`.
"""
