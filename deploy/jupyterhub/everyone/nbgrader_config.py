"""nbgrader for everyone on the server: where the exchange is, and a collector that trusts nobody."""

import os

c = get_config()  # noqa: F821 (nbgrader defines it)

c.CourseDirectory.course_id = "metaface"
c.Exchange.root = os.environ.get("NBGRADER_EXCHANGE", "/srv/nbgrader/exchange")
c.ExchangeFactory.collect = "metaface_lessons.grading.collect.CollectOwn"  # also for nbgrader's own commands
