from django.db.models.signals import pre_save
from django.dispatch import receiver

from library.models import Book


@receiver(pre_save, sender=Book)
def strip_title(sender, instance, **_):
    instance.title = instance.title.strip()
