"""What mypy must know of the installed package."""

import fairmot

reveal_type(fairmot.FairMOTTracker(25.0).update)
reveal_type(fairmot.open_source)
