"""The application for any WSGI server: `gunicorn -c python:onekey.serve wsgi:app`, `flask --app wsgi run`, waitress.

Settings come from the environment, or from the file that ONEKEY_CONFIG names.
"""

from onekey.app import create_app
from onekey.settings import from_environment

app = create_app(from_environment())
