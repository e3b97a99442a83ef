"""Types that mypy must know of the installed package."""

import fairmot

reveal_type(fairmot.FairMOTTracker(25.0).update)  # noqa: F821 - mypy knows it
reveal_type(fairmot.open_source)  # noqa: F821
