"""There are no models. With this module Django also notifies the app when `manage.py migrate` has ended."""
