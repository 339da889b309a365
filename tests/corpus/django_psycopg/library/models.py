from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinLengthValidator
from django.db import models
from django.utils.translation import gettext_lazy as _


class Book(models.Model):
    title = models.CharField(_("title"), max_length=200, unique=True, validators=[MinLengthValidator(2)])
    tags = ArrayField(models.CharField(max_length=20), default=list, blank=True)
    details = models.JSONField(default=dict, blank=True)
    price = models.DecimalField(max_digits=6, decimal_places=2, default=0)
    added = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["title"]
        verbose_name = _("book")

    def __str__(self) -> str:
        return self.title
