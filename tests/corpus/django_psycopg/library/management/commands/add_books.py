from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from library.models import Book


class Command(BaseCommand):
    help = "Adds books, and the administrator when there is none."

    def add_arguments(self, parser):
        parser.add_argument("titles", nargs="+")

    def handle(self, *, titles, **_):
        for title in titles:
            Book.objects.get_or_create(title=title, defaults={"tags": ["old"], "details": {"pages": 300}})
        users = get_user_model().objects
        if not users.filter(username="admin").exists():
            users.create_superuser("admin", "admin@example.org", "an administrator")
