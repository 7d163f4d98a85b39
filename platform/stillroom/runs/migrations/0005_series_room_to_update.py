"""Room on the pages of `series`, whose rows change with every batch: an update then stays on its page and touches no
index.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("runs", "0004_series_last_time")]

    operations = [
        migrations.RunSQL(
            "alter table series set (fillfactor = 50)", "alter table series reset (fillfactor)"
        ),
    ]
