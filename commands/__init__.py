"""The operators' commands of `manage.py`: each reads the settings, calls one service, and says what came of it."""
