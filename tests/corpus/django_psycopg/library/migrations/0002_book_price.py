from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("library", "0001_initial")]
    operations = [
        migrations.AddField("book", "price", models.DecimalField(decimal_places=2, default=0, max_digits=6)),
    ]
