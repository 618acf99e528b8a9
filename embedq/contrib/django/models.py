"""There are none. With this module Django tells the app, too, when `manage.py migrate` has ended."""
