import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_books.settings")

application = get_wsgi_application()
call_command("migrate", verbosity=0, interactive=False)
call_command("add_books", "Emma", "Ulysses", "Der Prozeß")
